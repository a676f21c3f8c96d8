"""The chain beyond the LAN: a publisher's record on a web server leads a machine to its release.

Real programs of this project and nginx, in a private network namespace in which nothing is
announced by mDNS.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from image.lab.network import IPV4, Lab
from image.lab.nginx import RECORD_LOCATION, nginx_command
from phase_boot.cli.main import main
from phase_boot.drill.sample_kernel import bzimage
from phase_boot.handoff.cpio import Entry, archive
from phase_boot.journal.replay import replay
from phase_boot.store.layout import record_paths
from phase_boot.trust.ipns_name import IpnsName
from tests.support.avahi_host import wait_until
from tests.support.required_programs import needed

pytestmark = pytest.mark.interop

PHASE_BOOT = str(Path(sys.executable).parent / "phase-boot")
FILES = {
    "kernel": bzimage(b"kernel" * 9000),
    "initramfs": archive([Entry.file("init", b"070701" * 900)]),
    "rootfs": b"hsqs" * 90_000,
}
WEB = f"http://{IPV4}"
PROVIDER = f"http://{IPV4}:8070"
NO_MACHINE = "http://10.77.0.250"


@dataclass(frozen=True)
class Publisher:
    """A publisher's folder with keys, root, SITE and record."""

    folder: Path

    @property
    def site(self) -> Path:
        return self.folder / "site"

    def key(self, name: str) -> str:
        return str(self.folder / f"{name}.key")

    def run(self, *words: str) -> None:
        assert main(list(words)) == 0

    def announce(self, *words: str) -> None:
        self.run("announce", str(self.site), "--key", self.key("announcer"), *words)

    def policy(self, *words: str, capsys: pytest.CaptureFixture[str]) -> Path:
        capsys.readouterr()
        self.run("policy", "--root", str(self.site / "root" / "1.json"), *words)
        path = self.folder / "policy.toml"
        # A search that finds nothing ends after this window.
        text = capsys.readouterr().out.replace("window_seconds = 15", "window_seconds = 4")
        path.write_text(text)
        return path

    def record(self, capsys: pytest.CaptureFixture[str]) -> Path:
        """Return the file of the SITE that a router sends."""
        capsys.readouterr()
        self.run("key", "show", self.key("announcer"))
        return self.site / record_paths(IpnsName(capsys.readouterr().out.strip()))[0]


@pytest.fixture
def publisher(tmp_path: Path) -> Publisher:
    made = Publisher(tmp_path)
    for name in ("root", "publisher", "announcer"):
        made.run("key", "new", made.key(name))
    for name, data in FILES.items():
        (tmp_path / name).write_bytes(data)
    keys = ["--publisher", made.key("publisher"), "--announcer", made.key("announcer")]
    where = ["--channel", "stable", "--expires", "+300d", "--key", made.key("root")]
    made.run("root", "new", str(made.site / "root"), *keys, *where)
    words = [word for name in FILES for word in (f"--{name}", str(tmp_path / name))]
    version = ["--channel", "stable", "--arch", "amd64", "--version", "2025.11.12"]
    signing = ["--expires", "+30d", "--key", made.key("publisher"), "--out", str(made.site)]
    made.run("publish", *version, *words, *signing)
    return made


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab(dhcp=False) as made:
        yield made


def web_server(lab: Lab, site: Path) -> None:
    """Serve a SITE by nginx on port 80 of the lab's bridge."""
    needed("nginx", "nginx-light")
    folder = lab.folder / "web"
    folder.mkdir()
    server = f"server {{ listen {IPV4}:80; root {site}; {RECORD_LOCATION} }}"
    log = f"access_log {folder}/access.log;\n"
    with (folder / "output").open("wb") as out:
        lab.popen(nginx_command(folder, log + server), stdout=out, stderr=out)
    wait_until(lambda: answers(lab, f"{WEB}/root/1.json"), folder / "output")


def answers(lab: Lab, url: str) -> bool:
    try:
        lab.http_get(url)
    except Exception:  # noqa: BLE001 - it is asked again
        return False
    return True


def dry_run(lab: Lab, policy: Path) -> tuple[int, list[Mapping[str, Any]]]:
    """Run the daemon in the lab; return its status and its journal."""
    folder = policy.parent
    journal = folder / "journal.jsonl"
    words = ["--policy", str(policy), "--store", str(folder / "store"), "--journal", str(journal)]
    done = subprocess.run(
        lab.command([PHASE_BOOT, "daemon", "--dry-run", *words]),
        capture_output=True,
        check=False,
        timeout=120,
        stdin=subprocess.DEVNULL,
    )
    lines = journal.read_text().splitlines()
    replay(lines)
    return done.returncode, [json.loads(line) for line in lines]


def of(events: list[Mapping[str, Any]], name: str) -> list[Mapping[str, Any]]:
    return [event for event in events if event["event"] == name]


def test_a_record_on_a_plain_web_server_leads_to_the_release_and_an_older_one_to_nothing(
    lab: Lab, publisher: Publisher, capsys: pytest.CaptureFixture[str]
) -> None:
    web_server(lab, publisher.site)
    policy = publisher.policy("--router", WEB, capsys=capsys)
    file = publisher.record(capsys)
    publisher.announce("--mirror", WEB)
    older = file.read_bytes()
    publisher.announce("--mirror", WEB)

    status, events = dry_run(lab, policy)
    assert status == 0, events
    (found,) = of(events, "candidate.found")
    assert (found["finder"], found["url"]) == ("wan", f"{WEB}/stable/amd64/manifest.json")
    (accepted,) = of(events, "record.accepted")
    stored = publisher.folder / "store" / "cas" / "sha256"
    assert {path.read_bytes() for path in stored.iterdir()} == set(FILES.values())
    (kept,) = (publisher.folder / "store").rglob("*.ipns-record")
    assert kept.read_bytes() == file.read_bytes()
    assert accepted["name"] in file.name

    file.write_bytes(older)
    status, events = dry_run(lab, policy)
    assert status == 1
    assert of(events, "candidate.found") == []
    assert [event["finder"] for event in of(events, "finder.ignored")] == ["wan"]
    assert kept.read_bytes() != older


def test_where_no_mirror_of_the_record_answers_the_manifest_is_had_by_its_cid(
    lab: Lab, publisher: Publisher, capsys: pytest.CaptureFixture[str]
) -> None:
    publisher.announce("--mirror", NO_MACHINE)
    log = publisher.folder / "serve.log"
    words = ["serve", str(publisher.site), "--no-announce"]
    with log.open("wb") as out:
        lab.popen([PHASE_BOOT, *words], stdout=out, stderr=out)
    wait_until(lambda: answers(lab, f"{PROVIDER}/health"), log)
    policy = publisher.policy("--router", PROVIDER, "--gateway", PROVIDER, capsys=capsys)
    status, events = dry_run(lab, policy)
    assert status == 0, events
    (verified,) = of(events, "manifest.verified")
    assert verified["url"].startswith(f"{PROVIDER}/ipfs/baf")
    assert {event["source"] for event in of(events, "fetch.done")} == {PROVIDER}


def test_a_stick_whose_root_names_no_announcing_key_asks_no_router(
    lab: Lab, publisher: Publisher, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(publisher.site / "root")
    keys = ["--publisher", publisher.key("publisher"), "--key", publisher.key("root")]
    where = ["--channel", "stable", "--expires", "+300d"]
    publisher.run("root", "new", str(publisher.site / "root"), *keys, *where)
    web_server(lab, publisher.site)
    policy = publisher.policy("--router", WEB, capsys=capsys)
    status, events = dry_run(lab, policy)
    assert status == 1
    assert of(events, "finder.ignored") == of(events, "candidate.found") == []
    asked = (lab.folder / "web" / "access.log").read_text()
    assert "root/1.json" in asked
    assert "ipns" not in asked
