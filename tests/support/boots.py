"""A publisher, a target and a stick, and what is asked of a machine that boots."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest

from image.build_cache import build_lock
from image.hello import hello
from image.lab.accel import choose
from image.lab.boot_timing import is_of_seed
from image.lab.certificates import certificate
from image.lab.disk_image import Cache
from image.lab.guest_events import Event
from image.lab.machine import Machine
from image.lab.provider_process import PROGRAM, expected_manifest
from image.lab.qemu_args import Hardware
from image.lab.wan import Certificate
from phase_boot.content.arch import Arch
from phase_boot.content.digest import Digest
from phase_boot.publish.keys.keyfile import read_key
from phase_boot.publish.keys.signing import signed
from phase_boot.store.layout import manifest_path
from phase_boot.trust.manifest import Manifest, signed_bytes
from phase_boot.trust.strict_json import read_document

CHANNEL = "stable"
CERTIFICATES = Path("build/e2e/certificates").absolute()
MIRROR = "mirror.phase.example"


# Hello, with a section that says nothing: other bytes that do the same.
SECOND_MODULE = hello() + b"\0\7\6second"
SECOND_INPUT = "The manifest handed this over."
GOING_WRONG = ("shell.opened", "run.ended", "crashed")
BOOT_SECONDS = 420.0
AMD64 = pytest.mark.parametrize("arch", [Arch.AMD64], ids=str)
ARM64_LATER = pytest.mark.parametrize(
    "arch",
    [Arch.AMD64, pytest.param(Arch.ARM64, marks=pytest.mark.e2e_all)],
    ids=str,
)
"""The second architecture only in `make e2e-all`."""
BOTH = pytest.mark.parametrize("arch", [Arch.AMD64, Arch.ARM64], ids=str)


@dataclass(frozen=True, slots=True)
class Published:
    """A SITE, a stick that starts from its first root, and a machine to boot it on.

    `root_key` signs roots, `key` is the publisher's, and `heir` one that no root names yet.
    """

    arch: Arch
    site: Path
    root_key: Path
    key: Path
    heir: Path
    stick: Path
    manifest: Manifest
    hardware: Hardware

    def artifact(self, name: str) -> Path:
        """Where the SITE keeps an artifact."""
        return self.site / "cas" / "sha256" / self.manifest.artifacts[name].digest.hex


def publish(arch: Arch, folder: Path) -> Published:
    site, stick, roots = folder / "site", folder / "stick.img", folder / "roots"
    root_key, key, heir = (folder / f"{name}.key" for name in ("root", "publisher", "heir"))
    for path in (root_key, key, heir):
        if not path.exists():
            program(str(PROGRAM), "key", "new", str(path))
    root = roots / "1.json"
    common = ("--arch", str(arch), "--channel", CHANNEL, "--root", str(root))
    if not root.exists():
        by = ("--key", str(root_key), "--publisher", str(key), "--expires", "+3650d")
        program(str(PROGRAM), "root", "new", str(roots), "--channel", CHANNEL, *by)
    builder = (sys.executable, "-m", "image")
    by_manifest = ("--key", str(key), "--site", str(site), *second_job(folder))
    program(*builder, "target", *common, *by_manifest)
    program(
        *builder, "build", *common, "--out", str(stick), "--ca", str(mirror_certificate().authority)
    )
    manifest = expected_manifest(site, arch, CHANNEL, root)
    kernel = site / "cas" / "sha256" / manifest.artifacts["kernel"].digest.hex
    hardware = Hardware(arch=arch, memory=768, accel=choose(arch, kernel).accel)
    return Published(arch, site, root_key, key, heir, stick, manifest, hardware)


def stay(machine: Machine) -> None:
    """Press a key that chooses nothing, so that the Shell waits for a person from now on."""
    before = len(machine.named("retry.stopped"))
    machine.type(" ")
    machine.until(
        "retry.stopped",
        timeout=BOOT_SECONDS,
        where=lambda _: len(machine.named("retry.stopped")) > before,
    )


def second_job(folder: Path) -> tuple[str, ...]:
    """The builder's words for a job of the manifest, whose module no rootfs has."""
    module, job = folder / "second.wasm", folder / "second.json"
    module.write_bytes(SECOND_MODULE)
    pinned = {"module": str(Digest.of(SECOND_MODULE)), "size": len(SECOND_MODULE)}
    job.write_text(
        json.dumps({"name": "second", "stdin": SECOND_INPUT, "wall_ms": 60_000, **pinned})
    )
    return ("--job", str(job), "--module", str(module))


def mirror_certificate() -> Certificate:
    """What the HTTPS server MIRROR shows; every stick trusts the authority that made it."""
    with build_lock(CERTIFICATES):
        return certificate(CERTIFICATES, MIRROR)


def program(*argv: str) -> str:
    done = subprocess.run(argv, check=False, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(argv)}\n{done.stdout[-4000:]}{done.stderr[-4000:]}"
    return done.stdout


def with_one_bit_flipped(published: Published, artifact: str, copy: Path) -> Path:
    """A copy of the SITE whose `artifact` differs in one bit from what was signed."""
    middle = published.artifact(artifact).stat().st_size // 2
    return with_bits_flipped(published, artifact, copy, [middle])


def with_bits_flipped(
    published: Published, artifact: str, copy: Path, offsets: Iterable[int]
) -> Path:
    """A copy of the SITE whose `artifact` has one bit wrong in the byte at each of `offsets`."""
    shutil.copytree(published.site, copy)
    victim = copy / published.artifact(artifact).relative_to(published.site)
    content = bytearray(victim.read_bytes())
    for offset in offsets:
        content[offset] ^= 0x10
    victim.chmod(0o644)
    victim.write_bytes(content)
    return copy


def republished(
    published: Published, copy: Path, *, key: Path | None = None, **changes: object
) -> Path:
    """A copy of the SITE whose manifest is changed, and signed by `key` or the publisher."""
    shutil.copytree(published.site, copy)
    path = copy / manifest_path(CHANNEL, published.arch)
    path.write_bytes(resigned(published, key=key, **changes))
    return copy


def resigned(published: Published, *, key: Path | None = None, **changes: object) -> bytes:
    """The manifest of the SITE, changed, and signed by `key` or the publisher."""
    path = published.site / manifest_path(CHANNEL, published.arch)
    document = {**read_document(path.read_bytes()), **changes}
    del document["signatures"]
    return signed(document, signed_bytes(document), [read_key(key or published.key)])


def type_url(machine: Machine, url: str) -> None:
    """Type the URL of a manifest at the Seed Shell's menu."""
    machine.type("u\r")
    machine.type(f"{url}\r")


def replayed(machine: Machine, folder: Path) -> list[str]:
    """The states that `phase-boot replay` finds in what the seed wrote down."""
    journal = folder / "journal.jsonl"
    lines = (machine.folder / "events.jsonl").read_text().splitlines(keepends=True)
    journal.write_text("".join(line for line in lines if is_of_seed(json.loads(line)["event"])))
    return program(str(PROGRAM), "replay", str(journal)).strip().split(" -> ")


def moves(machine: Machine) -> list[tuple[str, str, str]]:
    """Every transition as (source, trigger, target)."""
    return [
        (event.text("source"), event.text("trigger"), event.text("target"))
        for event in machine.named("transition")
    ]


def cache_of(machine: Machine) -> Cache:
    """The Cache as it is on the disk of a machine that writes nothing now, checked."""
    cache = machine.stick.cache(machine.folder)
    cache.check()
    return cache


def stored_in(cache: Cache) -> set[str]:
    """The digests of what is published in a Cache, each compared with its content."""
    artifacts = cache.artifacts()
    assert {name: digest.hex for name, digest in artifacts.items()} == {
        name: name for name in artifacts
    }
    return set(artifacts)


def stored_and_sound(machine: Machine) -> set[str]:
    """Stop the machine, check its Cache, and return the digests of what is published in it."""
    machine.stop()
    return stored_in(cache_of(machine))


def sources(events: list[Event]) -> dict[str, str]:
    """Where each artifact came from in the end."""
    return {event.text("artifact"): event.text("source") for event in events}


STRAIGHT_ON = [
    ("init", "configured", "net_up"),
    ("net_up", "linked", "discover"),
    ("discover", "found", "verify"),
    ("verify", "verified", "fetch"),
    ("fetch", "fetched", "kexec"),
]
