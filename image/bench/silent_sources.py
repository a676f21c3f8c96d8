"""Seconds that sources without responses add to the download of a boot.

`phase-boot daemon --dry-run` gets a list of manifest URLs, of which only the last one answers, and
the manifest names the same servers as mirrors. aria2c gets the same list. Each client is compared
with its own run with the good server alone.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from image.bench import clients
from image.bench.clients import MIB
from image.bench.results import (
    Bench,
    Row,
    Threshold,
)
from image.lab.netns import Host
from image.lab.network import Lab
from image.lab.provider_process import PROGRAM
from phase_boot.content.arch import Arch
from phase_boot.content.artifact import Artifact
from phase_boot.drill.sample_manifest import INITRAMFS, KERNEL
from phase_boot.publish.keys.keyfile import read_keyfile
from phase_boot.store.layout import entry_path, manifest_path
from phase_boot.trust.manifest import Manifest
from phase_boot.trust.strict_json import read_document

ARCH: Final = Arch.AMD64
UNUSED: Final = 100
"""The number of the first host that does not exist."""
THRESHOLD: Final = Threshold(0.5)
PEER: Final = ("--connect-timeout=5", "--timeout=5", "--max-tries=1")
"""By default aria2c waits 60 s and tries five times."""
ORDER: Final = 'order = ["lan", "url"]'


@dataclass(frozen=True, slots=True)
class Release:
    """A release in a channel of its own, and a policy that tries `urls` in order."""

    channel: str
    policy: Path
    rootfs: Artifact
    urls: tuple[str, ...]


def measure(about: Bench, runs: int, folder: Path) -> Iterator[Row]:
    """Yield the seconds that four silent servers, and two addresses without a host, add."""
    with Lab(dhcp=False) as lab:
        good = Host(lab, 0)
        silent = [Host(lab, number) for number in range(1, 5)]
        for place in silent:
            place.start_silent_server()
        unused = [Host.base_of(UNUSED + number) for number in range(2)]
        bad = {
            "4 servers that never answer": [place.base for place in silent],
            "2 addresses without a machine": unused,
        }
        alone = published(folder, "alone", [good.base])
        others = {
            name: published(folder, f"with-{number}", [*bases, good.base])
            for number, (name, bases) in enumerate(bad.items())
        }
        good.start_nginx(folder / "site")
        for name, release in others.items():
            added = [
                _boot_seconds(lab, release, folder) - _boot_seconds(lab, alone, folder)
                for _ in range(runs)
            ]
            theirs = [
                _peer_seconds(lab, release, folder) - _peer_seconds(lab, alone, folder)
                for _ in range(runs)
            ]
            row = about.row(f"added by {name}", "s", added, threshold=THRESHOLD)
            yield about.compare(row, f"aria2c {PEER[1]}", theirs)


def published(folder: Path, channel: str, bases: Sequence[str]) -> Release:
    """Publish a release with a rootfs of 1 MiB into the SITE, with ``bases`` as mirrors."""
    key, site = folder / "key", folder / "site"
    if not key.exists():
        clients.run([str(PROGRAM), "key", "new", str(key)])
    noise = random.Random(channel)  # noqa: S311 - reproducible test data, no secret
    files: list[str] = []
    contents = {"kernel": KERNEL, "initramfs": INITRAMFS, "rootfs": noise.randbytes(MIB)}
    for name, content in contents.items():
        (folder / name).write_bytes(content)
        files += [f"--{name}", str(folder / name)]
    clients.run(
        [
            *(str(PROGRAM), "publish", "--skip-image-checks", "--channel", channel),
            *("--arch", str(ARCH), "--version", "1", "--expires", "+3650d"),
            *(*files, "--key", str(key), "--out", str(site)),
            *(word for base in bases for word in ("--mirror", base)),
        ]
    )
    path = manifest_path(channel, ARCH)
    urls = [f"{base}/{path}" for base in bases]
    policy = folder / f"{channel}.toml"
    text = clients.run(
        [
            *(str(PROGRAM), "policy", "--mode", "internet", "--channel", channel),
            *("--key", read_keyfile(key).keyid),
            *(word for url in urls for word in ("--url", url)),
        ]
    )
    policy.write_text(text.replace(ORDER, 'order = ["url"]'))
    rootfs = Manifest.of(read_document((site / path).read_bytes())).artifacts["rootfs"]
    return Release(
        channel, policy, rootfs, tuple(f"{base}/{entry_path(rootfs.digest)}" for base in bases)
    )


def _boot_seconds(lab: Lab, release: Release, folder: Path) -> float:
    store = folder / "store"
    shutil.rmtree(store, ignore_errors=True)
    command = ("daemon", "--dry-run", "--policy", str(release.policy), "--store", str(store))
    timing = clients.timed(lab, [str(PROGRAM), *command])
    clients.check_sha256(store / entry_path(release.rootfs.digest), release.rootfs.digest)
    return timing.seconds


def _peer_seconds(lab: Lab, release: Release, folder: Path) -> float:
    out = folder / "out"
    out.unlink(missing_ok=True)
    return clients.aria2c(lab, release.urls, out, release.rootfs.digest, PEER).seconds
