"""A publisher with a root, a SITE and an announcing key, and a machine that follows its record.

Everything is made by the commands that a person would run.
"""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phase_boot.cli.main import main
from phase_boot.drill.sample_kernel import bzimage
from phase_boot.handoff.cpio import Entry, archive
from phase_boot.journal.replay import replay
from phase_boot.store.layout import record_paths
from phase_boot.trust.ipns_name import IpnsName

PHASE_BOOT = str(Path(sys.executable).parent / "phase-boot")
FILES = {
    "kernel": bzimage(b"kernel" * 9000),
    "initramfs": archive([Entry.file("init", b"070701" * 900)]),
    "rootfs": b"hsqs" * 90_000,
}
WINDOW = 4
"""Seconds of a search, after which one that finds nothing ends."""


@dataclass(frozen=True)
class Publisher:
    """A publisher's folder with keys, SITE and policy."""

    folder: Path

    @property
    def site(self) -> Path:
        return self.folder / "site"

    @property
    def store(self) -> Path:
        """The store of the machine."""
        return self.folder / "store"

    def key(self, name: str) -> str:
        return str(self.folder / f"{name}.key")

    def run(self, *words: str) -> str:
        """Run a command of this project and return what it prints."""
        with redirect_stdout(io.StringIO()) as printed:
            assert main(list(words)) == 0
        return printed.getvalue()

    def announce(self, *words: str) -> str:
        return self.run("announce", str(self.site), "--key", self.key("announcer"), *words)

    def policy(self, *words: str) -> Path:
        """Write the policy of a machine that trusts the first root and asks no public server."""
        path = self.folder / "policy.toml"
        root = str(self.site / "root" / "1.json")
        text = self.run("policy", "--no-public", "--root", root, *words)
        path.write_text(text.replace("window_seconds = 15", f"window_seconds = {WINDOW}"))
        return path

    def record(self) -> Path:
        """Return the file of the SITE that a router sends."""
        keyid = self.run("key", "show", self.key("announcer")).strip()
        return self.site / record_paths(IpnsName(keyid))[0]

    def stored(self) -> set[bytes]:
        """Return the contents of the machine's store."""
        return {path.read_bytes() for path in (self.store / "cas" / "sha256").iterdir()}


def announcing_publisher(folder: Path) -> Publisher:
    """Publish `FILES` for amd64 into a SITE whose root names an announcing key."""
    made = Publisher(folder)
    for name in ("root", "publisher", "announcer"):
        made.run("key", "new", made.key(name))
    for name, data in FILES.items():
        (folder / name).write_bytes(data)
    keys = ["--publisher", made.key("publisher"), "--announcer", made.key("announcer")]
    where = ["--channel", "stable", "--expires", "+300d", "--key", made.key("root")]
    made.run("root", "new", str(made.site / "root"), *keys, *where)
    words = [word for name in FILES for word in (f"--{name}", str(folder / name))]
    version = ["--channel", "stable", "--arch", "amd64", "--version", "2025.11.12"]
    signing = ["--expires", "+30d", "--key", made.key("publisher"), "--out", str(made.site)]
    made.run("publish", *version, *words, *signing)
    return made


def dry_run(
    policy: Path, command: Callable[[Sequence[str]], list[str]] = list
) -> tuple[int, list[Mapping[str, Any]]]:
    """Run the daemon beside a policy; return its status and its journal.

    ``command`` returns the command line that runs a program in another network namespace.
    """
    folder = policy.parent
    journal = folder / "journal.jsonl"
    words = ["--policy", str(policy), "--store", str(folder / "store"), "--journal", str(journal)]
    done = subprocess.run(
        command([PHASE_BOOT, "daemon", "--dry-run", *words]),
        capture_output=True,
        check=False,
        timeout=120,
        stdin=subprocess.DEVNULL,
    )
    lines = journal.read_text().splitlines()
    replay(lines)
    return done.returncode, [json.loads(line) for line in lines]


def of(events: Sequence[Mapping[str, Any]], name: str) -> list[Mapping[str, Any]]:
    """Return the events of one name."""
    return [event for event in events if event["event"] == name]
