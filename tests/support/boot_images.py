"""Build the sticks and targets that `make e2e` boots: `python -m tests.support.boot_images`."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from image.build_cache import build_lock
from image.hello import hello
from image.lab.accel import choose_accel
from image.lab.certificates import Certificate, certificate
from image.lab.provider_process import PROGRAM, expected_manifest
from image.lab.qemu_args import Hardware
from image.repository import BUILD
from phase_boot.content.arch import Arch
from phase_boot.content.digest import Digest
from phase_boot.trust.manifest import Manifest
from tests.support.lab_kubo import ENTRY

CHANNEL = "stable"
CERTIFICATES = Path("build/e2e/certificates").absolute()
MIRROR = "mirror.phase.example"


# Hello with an empty custom section: other bytes, the same behaviour.
SECOND_MODULE = hello() + b"\0\7\6second"
SECOND_INPUT = "The manifest handed this over."


@dataclass(frozen=True, slots=True)
class Published:
    """A SITE, a stick that starts from its first root, and a machine to boot it on.

    `root_key` signs roots, `key` is the publisher's, `announcer` signs the record of the SITE, and
    no root names `heir` yet. `wan_stick` asks MIRROR for the record, and `ipfs_stick` asks the
    DHT through the peer ENTRY.
    """

    arch: Arch
    site: Path
    root_key: Path
    key: Path
    heir: Path
    announcer: Path
    stick: Path
    wan_stick: Path
    ipfs_stick: Path
    manifest: Manifest
    hardware: Hardware

    def artifact(self, name: str) -> Path:
        """The path of an artifact in the SITE."""
        return self.site / "cas" / "sha256" / self.manifest.artifacts[name].digest.hex


def built(arch: Arch, build: Path = BUILD / "e2e") -> Published:
    """Return the stick, SITE and machine of ``arch``; concurrent callers build them once."""
    folder = build / arch
    with build_lock(folder):
        _build(arch, folder)
    return _read(arch, folder)


def _build(arch: Arch, folder: Path) -> None:
    root = folder / "roots" / "1.json"
    for name in ("root", "publisher", "heir", "announcer"):
        if not (folder / f"{name}.key").exists():
            program(str(PROGRAM), "key", "new", str(folder / f"{name}.key"))
    key = folder / "publisher.key"
    if not root.exists():
        by = ("--key", str(folder / "root.key"), "--publisher", str(key), "--expires", "+3650d")
        announced = ("--announcer", str(folder / "announcer.key"))
        program(
            str(PROGRAM), "root", "new", str(root.parent), "--channel", CHANNEL, *by, *announced
        )
    builder = (sys.executable, "-m", "image")
    common = ("--arch", str(arch), "--channel", CHANNEL, "--root", str(root))
    by_manifest = ("--key", str(key), "--site", str(folder / "site"), *second_job(folder))
    program(*builder, "target", *common, *by_manifest)
    authority = str(mirror_certificate().authority)
    sticks = {
        "stick.img": (),
        "wan-stick.img": ("--router", f"https://{MIRROR}"),
        "ipfs-stick.img": ("--bootstrap", ENTRY),
    }
    for name, more in sticks.items():
        out = ("--out", str(folder / name), "--ca", authority)
        program(*builder, "build", *common, "--no-public", *out, *more)


def _read(arch: Arch, folder: Path) -> Published:
    site = folder / "site"
    manifest = expected_manifest(site, arch, CHANNEL, folder / "roots" / "1.json")
    kernel = site / "cas" / "sha256" / manifest.artifacts["kernel"].digest.hex
    return Published(
        arch=arch,
        site=site,
        root_key=folder / "root.key",
        key=folder / "publisher.key",
        heir=folder / "heir.key",
        announcer=folder / "announcer.key",
        stick=folder / "stick.img",
        wan_stick=folder / "wan-stick.img",
        ipfs_stick=folder / "ipfs-stick.img",
        manifest=manifest,
        hardware=Hardware(arch=arch, memory=768, accel=choose_accel(arch, kernel).accel),
    )


def second_job(folder: Path) -> tuple[str, ...]:
    """The builder's options for a job of the manifest whose module is not in the rootfs."""
    module, job = folder / "second.wasm", folder / "second.json"
    module.write_bytes(SECOND_MODULE)
    pinned = {"module": str(Digest.of(SECOND_MODULE)), "size": len(SECOND_MODULE)}
    job.write_text(
        json.dumps({"name": "second", "stdin": SECOND_INPUT, "wall_ms": 60_000, **pinned})
    )
    return ("--job", str(job), "--module", str(module))


def mirror_certificate() -> Certificate:
    """The certificate of the HTTPS server MIRROR; every stick trusts its authority."""
    with build_lock(CERTIFICATES):
        return certificate(CERTIFICATES, MIRROR)


def program(*argv: str) -> str:
    done = subprocess.run(argv, check=False, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(argv)}\n{done.stdout[-4000:]}{done.stderr[-4000:]}"
    return done.stdout


def main() -> None:
    """Build for both architectures, one after the other."""
    for arch in Arch:
        folder = BUILD / "e2e" / arch
        with build_lock(folder):
            _build(arch, folder)


if __name__ == "__main__":
    main()
