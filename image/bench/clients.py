"""What fetches in the bench: our own command, and the programs that it is measured beside."""

from __future__ import annotations

import hashlib
import os
import resource
import shutil
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from image.lab.namespace import environment
from image.lab.network import Lab
from image.lab.provider_process import PROGRAM
from phase_boot.content.digest import Digest
from phase_boot.store.hashing import hash_into

SECONDS: Final = 900.0
KIB: Final = 1024
MIB: Final = KIB * KIB


@dataclass(frozen=True, slots=True)
class Took:
    """One run: seconds from start to end, and the most memory that one of its processes had."""

    seconds: float
    rss_mib: float


class BenchFailed(RuntimeError):
    """A side did not deliver; the sentence says which, and in whose words."""


def timed(lab: Lab, argv: Sequence[str], *, seconds: float = SECONDS) -> Took:
    """Run a program in the lab to its end.

    Raises BenchFailed if it fails.
    """
    # A process of its own waits for it, so that its peak is nobody else's.
    with (lab.folder / "said").open("w+b") as said:
        began = time.monotonic()
        child = subprocess.Popen(
            lab.command(argv), stdout=said, stderr=said, stdin=subprocess.DEVNULL, env=environment()
        )
        _, status, usage = _wait(child, seconds)
        took = time.monotonic() - began
        said.seek(0)
        words = said.read()[-2000:].decode(errors="replace")
    if status:
        raise BenchFailed(f"`{' '.join(argv)[:200]}` ended with {status}: {words}")
    return Took(took, usage.ru_maxrss / KIB)


def _wait(
    child: subprocess.Popen[bytes], seconds: float
) -> tuple[int, int, resource.struct_rusage]:
    give_up = time.monotonic() + seconds
    while True:
        pid, status, usage = os.wait4(child.pid, os.WNOHANG)
        if pid:
            child.returncode = os.waitstatus_to_exitcode(status)
            return pid, child.returncode, usage
        if time.monotonic() > give_up:
            child.kill()
        time.sleep(0.002)


def curl(lab: Lab, url: str, out: Path) -> Took:
    """`curl -o`, and the file made durable."""
    return timed(lab, ["sh", "-c", 'curl -sfo "$1" "$2" && sync "$1"', "sh", str(out), url])


def curl_then_hash(lab: Lab, url: str, out: Path) -> Took:
    """The same, and then its sha256."""
    script = 'curl -sfo "$1" "$2" && sync "$1" && sha256sum "$1"'
    return timed(lab, ["sh", "-c", script, "sh", str(out), url])


def aria2c(
    lab: Lab, urls: Sequence[str], out: Path, digest: Digest, options: Sequence[str] = ()
) -> Took:
    """aria2c from all of `urls` at once, with its own check of the sha256."""
    argv = [
        "aria2c",
        "--quiet",
        "--no-conf",
        "--allow-overwrite=true",
        "--file-allocation=none",
        "--max-connection-per-server=1",
        f"--split={len(urls)}",
        "--min-split-size=1M",
        "--lowest-speed-limit=16K",
        f"--checksum=sha-256={digest.hex}",
        f"--dir={out.parent}",
        f"--out={out.name}",
        *options,
    ]
    script = 'f="$1"; shift; "$@" && sync "$f"'
    return timed(lab, ["sh", "-c", script, "sh", str(out), *argv, *urls])


def ours(lab: Lab, manifest: str, store: Path, keyid: str, sources: Sequence[str] = ()) -> Took:
    """`phase-boot fetch` into an empty store; each artifact is durable when it ends."""
    shutil.rmtree(store, ignore_errors=True)
    words = [word for base in sources for word in ("--source", base)]
    argv = [str(PROGRAM), "fetch", manifest, "--store", str(store), "--key", keyid, *words]
    return timed(lab, argv)


def check(path: Path, digest: Digest) -> None:
    """Raise BenchFailed unless a file has this sha256."""
    found = hashlib.sha256()
    fd = os.open(path, os.O_RDONLY)
    try:
        hash_into(found, fd)
    finally:
        os.close(fd)
    if found.hexdigest() != digest.hex:
        raise BenchFailed(f"{path} is not what was published.")


def run(argv: Sequence[str]) -> str:
    """Run a program outside of any lab and return its output; raise BenchFailed if it fails."""
    done = subprocess.run(argv, check=False, capture_output=True, text=True)
    if done.returncode:
        raise BenchFailed(f"`{' '.join(argv)[:200]}` ended with {done.returncode}: {done.stderr}")
    return done.stdout
