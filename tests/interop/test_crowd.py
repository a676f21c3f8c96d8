"""Real processes that download at the same time find each other at a real provider."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from phase_boot.cli.main import main
from phase_boot.content.digest import Digest
from phase_boot.drill.sample_kernel import bzimage
from phase_boot.handoff.cpio import Entry, archive
from tests.support.downloads import data_of

PHASE_BOOT = str(Path(sys.executable).parent / "phase-boot")
CLIENTS = 4
SECONDS = 120
ESTABLISHED = "01"
"""A state of a row in /proc/net/tcp."""

pytestmark = pytest.mark.interop


@pytest.fixture
def files() -> Mapping[str, bytes]:
    """Return what is published. Each worker imports this module, and one makes these bytes."""
    return {
        "kernel": bzimage(data_of(300_000, 3)),
        "initramfs": archive([Entry.file("init", data_of(50_000, 4))]),
        "rootfs": data_of(96_000_000, 5),
    }


@contextmanager
def running(words: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as file, subprocess.Popen(words, stdout=file, stderr=file) as child:
        try:
            yield child
        finally:
            child.terminate()


def until(done: Callable[[], bool], why: Callable[[], str]) -> None:
    give_up = time.monotonic() + SECONDS
    while not done():
        assert time.monotonic() < give_up, why()
        time.sleep(0.1)


def connections_to(url: str) -> int:
    """Return how many clients are connected to a port of 127.0.0.1, answered or not."""
    place = f"0100007F:{int(url.rpartition(':')[2]):04X}"
    rows = [row.split() for row in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(row[2] == place and row[3] == ESTABLISHED for row in rows)


def events(path: Path) -> list[dict[str, Any]]:
    lines = path.read_text(errors="replace").splitlines() if path.exists() else []
    return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]


def publish(folder: Path, files: Mapping[str, bytes], capsys: pytest.CaptureFixture[str]) -> str:
    """Lay out a SITE and return the publisher's key id."""
    key = folder / "publisher.key"
    assert main(["key", "new", str(key)]) == 0
    capsys.readouterr()
    main(["key", "show", str(key)])
    keyid = capsys.readouterr().out.strip()
    for name, data in files.items():
        (folder / name).write_bytes(data)
    named = [word for name in files for word in (f"--{name}", str(folder / name))]
    version = ["--channel", "stable", "--arch", "amd64", "--version", "1", "--expires", "+30d"]
    assert main(["publish", *version, *named, "--key", str(key), "--out", f"{folder}/site"]) == 0
    return keyid


def test_machines_that_start_together_get_most_bytes_from_peers(
    tmp_path: Path, files: Mapping[str, bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    keyid = publish(tmp_path, files, capsys)
    provider_log = tmp_path / "provider.log"
    stores = [tmp_path / f"store-{number}" for number in range(CLIENTS)]
    wanted = {Digest.of(data).hex: data for data in files.values()}

    def entries(store: Path) -> set[str]:
        folder = store / "cas" / "sha256"
        return {path.name for path in folder.iterdir()} if folder.exists() else set()

    with ExitStack() as children:
        serve = [PHASE_BOOT, "serve", str(tmp_path / "site"), "--port", "0", "--no-announce"]
        provider = children.enter_context(running([*serve, "--host", "127.0.0.1"], provider_log))
        until(lambda: bool(events(provider_log)), provider_log.read_text)
        url = events(provider_log)[0]["urls"][0].rstrip("/")
        # It answers once all wait: else the first may have everything before the last begins.
        provider.send_signal(signal.SIGSTOP)
        for store in stores:
            words = [PHASE_BOOT, "fetch", url, "--key", keyid, "--serve", "0"]
            words += ["--store", str(store), "--journal", f"{store}.jsonl"]
            children.enter_context(running(words, Path(f"{store}.log")))
        try:
            until(lambda: connections_to(url) >= CLIENTS, lambda: "not all of them have connected")
        finally:
            provider.send_signal(signal.SIGCONT)
        until(
            lambda: all(entries(store) == wanted.keys() for store in stores),
            lambda: "".join(Path(f"{store}.log").read_text() for store in stores),
        )
        handed_on = Path(f"{stores[0]}.log")
        until(lambda: "served to peers at port" in handed_on.read_text(), handed_on.read_text)

    for store in stores:
        for name, data in wanted.items():
            assert (store / "cas" / "sha256" / name).read_bytes() == data
    # `source.served` counts the bytes of each of several sources; `fetch.done` names a single one.
    sources = {
        event["source"]
        for store in stores
        for event in events(Path(f"{store}.jsonl"))
        if event["event"] in {"source.served", "fetch.done"}
    }
    assert sources > {url}
    sent = sum(
        event["bytes"]
        for event in events(provider_log)
        if event["event"] == "request" and "/cas/" in event["path"]
    )
    assert 0 < sent < (CLIENTS - 1) * sum(map(len, files.values()))
