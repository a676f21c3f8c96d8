"""The whole chain without a virtual machine: publish, serve, find by mDNS, verify, fetch.

Real programs of this project on both sides, in a private network namespace.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from image.lab.namespace import stop
from image.lab.network import BRIDGE, IPV4, IPV6, Lab
from phase_boot.cli.main import main
from phase_boot.drill.sample_kernel import bzimage
from phase_boot.handoff.cpio import Entry, archive
from phase_boot.journal.replay import replay

BIN = Path(sys.executable).parent
PHASE_BOOT = [str(BIN / "phase-boot")]
CHAIN = {"daemon": [*PHASE_BOOT, "daemon"], "one command": [str(BIN / "fetch-verify-kexec")]}
FILES = {
    "kernel": bzimage(b"kernel" * 9000),
    "initramfs": archive([Entry.file("init", b"070701" * 900)]),
    "rootfs": b"hsqs" * 90_000,
}


class Site:
    """A published SITE and its publisher's key."""

    def __init__(self, folder: Path) -> None:
        self.path, self.key = folder / "site", folder / "publisher.key"
        main(["key", "new", str(self.key)])
        for name, data in FILES.items():
            (folder / name).write_bytes(data)
        words = [word for name in FILES for word in (f"--{name}", str(folder / name))]
        version = ["--channel", "stable", "--arch", "amd64", "--version", "2025.11.12"]
        where = ["--expires", "+30d", "--key", str(self.key), "--out", str(self.path)]
        assert main(["publish", *version, *words, *where]) == 0

    def keyid(self, capsys: pytest.CaptureFixture[str]) -> str:
        capsys.readouterr()
        main(["key", "show", str(self.key)])
        return capsys.readouterr().out.strip()


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab(dhcp=False) as made:
        yield made


@pytest.fixture
def policy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    site = Site(tmp_path)
    path = tmp_path / "policy.toml"
    assert main(["policy", "--key", site.keyid(capsys)]) == 0
    path.write_text(capsys.readouterr().out)
    return path


def serving(lab: Lab, *what: Path | str) -> subprocess.Popen[bytes]:
    """Start the provider, and return once it answers."""
    site = Path(what[-1])
    with (site.parent / "serve.log").open("wb") as log:
        server = lab.popen([*PHASE_BOOT, "serve", *map(str, what)], stdout=log, stderr=log)
    give_up = time.monotonic() + 30
    while True:
        try:
            lab.http_get(f"http://{IPV4 if lab.ipv4 else f'[{IPV6}]'}:8070/health")
        except Exception:
            assert server.poll() is None, (site.parent / "serve.log").read_text()
            if time.monotonic() > give_up:
                raise
            time.sleep(0.1)
        else:
            return server


def dry_run(
    lab: Lab, policy: Path, chain: str = "daemon", *, store: str = "store"
) -> tuple[int, str, list[dict[str, object]]]:
    """Run the daemon in the lab and return its status, its console output, and its journal."""
    folder = policy.parent
    journal = folder / "journal.jsonl"
    words = ["--policy", str(policy), "--store", str(folder / store), "--journal", str(journal)]
    done = subprocess.run(
        lab.command([*CHAIN[chain], "--dry-run", *words]),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        stdin=subprocess.DEVNULL,
    )
    lines = journal.read_text().splitlines()
    replay(lines)
    return done.returncode, done.stdout + done.stderr, [json.loads(line) for line in lines]


@pytest.mark.parametrize("chain", sorted(CHAIN))
def test_a_machine_on_the_lan_finds_and_verifies_the_providers_version(
    lab: Lab, policy: Path, chain: str
) -> None:
    serving(lab, policy.parent / "site")
    status, console_output, events = dry_run(lab, policy, chain)
    assert status == 0, console_output
    assert "phase.version=2025.11.12" in console_output
    (found,) = [event for event in events if event["event"] == "candidate.found"]
    assert found["finder"] == "lan"
    done = {event["artifact"]: event for event in events if event["event"] == "fetch.done"}
    assert set(done) == set(FILES)
    stored = policy.parent / "store" / "cas" / "sha256"
    assert {path.read_bytes() for path in stored.iterdir()} == set(FILES.values())
    assert {path.name for path in stored.iterdir()} == {e["sha256"] for e in done.values()}


def test_a_booted_machine_serves_its_version(lab: Lab, policy: Path) -> None:
    publisher = serving(lab, policy.parent / "site")
    assert dry_run(lab, policy)[0] == 0
    stop(publisher)
    serving(lab, "--store", policy.parent / "store")
    status, console_output, events = dry_run(lab, policy, store="another")
    assert status == 0, console_output + (policy.parent / "serve.log").read_text()
    done = {event["artifact"]: event for event in events if event["event"] == "fetch.done"}
    assert all(str(event["source"]).startswith("http://") for event in done.values())
    stored = policy.parent / "another" / "cas" / "sha256"
    assert {path.read_bytes() for path in stored.iterdir()} == set(FILES.values())


def test_a_provider_of_another_publisher_is_found_and_refused(
    lab: Lab, policy: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    serving(lab, Site(other).path)
    # The machine looks for others until the end of this window.
    policy.write_text(policy.read_text().replace("window_seconds = 15", "window_seconds = 8"))
    status, console_output, events = dry_run(lab, policy)
    assert status == 1
    assert "Traceback" not in console_output
    refused = [event for event in events if event["event"] == "candidate.refused"]
    assert {event["code"] for event in refused} == {"signature.untrusted"}
    assert not [event for event in events if event["event"] == "fetch.started"]


@pytest.mark.parametrize("hostile", [False, True], ids=["alone", "beside a liar"])
def test_the_whole_chain_works_on_a_network_of_ipv6_alone(policy: Path, *, hostile: bool) -> None:
    with Lab(dhcp=False, ipv4=False) as lab:
        serving(lab, policy.parent / "site")
        if hostile:
            lab.popen([sys.executable, "-m", "tests.support.mdns_attacker", BRIDGE, "64"])
        status, console_output, events = dry_run(lab, policy)
        assert status == 0, console_output
        (found,) = (event for event in events if event["event"] == "candidate.found")
        assert str(found["url"]).startswith("http://[")
        sources = {event["source"] for event in events if event["event"] == "fetch.done"}
        assert sources
        assert all(str(source).startswith("http://[") for source in sources)
