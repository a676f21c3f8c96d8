"""Download clients that are compared: our own command, curl and aria2c, each timed."""

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
class Timing:
    """One run: its seconds, and the peak memory of its largest process in MiB."""

    seconds: float
    rss_mib: float


class BenchFailed(RuntimeError):
    """A client failed, or its result is wrong; the message holds the client's output."""


def timed(lab: Lab, argv: Sequence[str], *, seconds: float = SECONDS) -> Timing:
    """Run a program in the lab, wait for its end, and measure it.

    Raises:
        BenchFailed: the program fails, or takes longer than `seconds`.
    """
    # wait4 returns the peak memory of this child alone.
    with (lab.folder / "output").open("w+b") as output:
        started = time.monotonic()
        child = subprocess.Popen(
            lab.command(argv),
            stdout=output,
            stderr=output,
            stdin=subprocess.DEVNULL,
            env=environment(),
        )
        _, status, usage = _wait(child, seconds)
        took = time.monotonic() - started
        output.seek(0)
        text = output.read()[-2000:].decode(errors="replace")
    if status:
        raise BenchFailed(f"`{' '.join(argv)[:200]}` ended with {status}: {text}")
    return Timing(took, usage.ru_maxrss / KIB)


def _wait(
    child: subprocess.Popen[bytes], seconds: float
) -> tuple[int, int, resource.struct_rusage]:
    deadline = time.monotonic() + seconds
    while True:
        pid, status, usage = os.wait4(child.pid, os.WNOHANG)
        if pid:
            child.returncode = os.waitstatus_to_exitcode(status)
            return pid, child.returncode, usage
        if time.monotonic() > deadline:
            child.kill()
        time.sleep(0.002)


def curl(lab: Lab, url: str, out: Path) -> Timing:
    """Download by curl, then flush the file to disk."""
    return timed(lab, ["sh", "-c", 'curl -sfo "$1" "$2" && sync "$1"', "sh", str(out), url])


def curl_then_hash(lab: Lab, url: str, out: Path) -> Timing:
    """Download by curl, flush, then compute the sha256."""
    script = 'curl -sfo "$1" "$2" && sync "$1" && sha256sum "$1"'
    return timed(lab, ["sh", "-c", script, "sh", str(out), url])


def aria2c(
    lab: Lab, urls: Sequence[str], out: Path, digest: Digest, options: Sequence[str] = ()
) -> Timing:
    """Download by aria2c from all of `urls` in parallel; aria2c checks the sha256."""
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


def ours(lab: Lab, manifest: str, store: Path, keyid: str, sources: Sequence[str] = ()) -> Timing:
    """Download by `phase-boot fetch` into an empty store; artifacts are durable when it ends."""
    shutil.rmtree(store, ignore_errors=True)
    options = [option for base in sources for option in ("--source", base)]
    argv = [str(PROGRAM), "fetch", manifest, "--store", str(store), "--key", keyid, *options]
    return timed(lab, argv)


def check_sha256(path: Path, digest: Digest) -> None:
    """Raise BenchFailed unless the file has this sha256."""
    found = hashlib.sha256()
    fd = os.open(path, os.O_RDONLY)
    try:
        hash_into(found, fd)
    finally:
        os.close(fd)
    if found.hexdigest() != digest.hex:
        raise BenchFailed(f"{path} differs from the published artifact.")


def run(argv: Sequence[str]) -> str:
    """Run a program outside the lab and return its output; raise BenchFailed if it fails."""
    done = subprocess.run(argv, check=False, capture_output=True, text=True)
    if done.returncode:
        raise BenchFailed(f"`{' '.join(argv)[:200]}` ended with {done.returncode}: {done.stderr}")
    return done.stdout
