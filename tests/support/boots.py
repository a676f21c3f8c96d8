"""Helpers for boots of virtual machines: changed SITEs, typed input, and checks of the stick."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from pathlib import Path

import pytest

from image.lab.boot_timing import is_seed_event
from image.lab.disk_image import Cache
from image.lab.guest_events import Event
from image.lab.machine import Machine
from image.lab.provider_process import PROGRAM
from phase_boot.content.arch import Arch
from phase_boot.publish.keys.keyfile import read_key
from phase_boot.publish.keys.signing import add_signatures
from phase_boot.store.layout import manifest_path
from phase_boot.trust.manifest import signed_bytes
from phase_boot.trust.strict_json import read_document
from tests.support.boot_images import CHANNEL, Published, program

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


def stay(machine: Machine) -> None:
    """Press a key that chooses nothing: the Shell stops its countdown and waits."""
    before = len(machine.events_named("retry.stopped"))
    machine.type(" ")
    machine.wait_for(
        "retry.stopped",
        timeout=BOOT_SECONDS,
        where=lambda _: len(machine.events_named("retry.stopped")) > before,
    )


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
    return add_signatures(document, signed_bytes(document), [read_key(key or published.key)])


def type_url(machine: Machine, url: str) -> None:
    """Type the URL of a manifest at the Seed Shell's menu."""
    machine.type("u\r")
    machine.type(f"{url}\r")


def replayed(machine: Machine, folder: Path) -> list[str]:
    """The states that `phase-boot replay` finds in the seed's journal."""
    journal = folder / "journal.jsonl"
    lines = (machine.folder / "events.jsonl").read_text().splitlines(keepends=True)
    journal.write_text("".join(line for line in lines if is_seed_event(json.loads(line)["event"])))
    return program(str(PROGRAM), "replay", str(journal)).strip().split(" -> ")


def moves(machine: Machine) -> list[tuple[str, str, str]]:
    """Every transition as (source, trigger, target)."""
    return [
        (event.text("source"), event.text("trigger"), event.text("target"))
        for event in machine.events_named("transition")
    ]


def cache_of(machine: Machine) -> Cache:
    """The checked Cache of a stopped machine."""
    cache = machine.stick.copy_cache(machine.folder)
    cache.check()
    return cache


def stored_in(cache: Cache) -> set[str]:
    """The digests of the entries in a Cache, each compared with its content."""
    artifacts = cache.artifacts()
    assert {name: digest.hex for name, digest in artifacts.items()} == {
        name: name for name in artifacts
    }
    return set(artifacts)


def stored_and_sound(machine: Machine) -> set[str]:
    """Stop the machine, check its Cache, and return the digests of its entries."""
    machine.stop()
    return stored_in(cache_of(machine))


def sources(events: list[Event]) -> dict[str, str]:
    """The source of each artifact."""
    return {event.text("artifact"): event.text("source") for event in events}


STRAIGHT_ON = [
    ("init", "configured", "net_up"),
    ("net_up", "linked", "discover"),
    ("discover", "found", "verify"),
    ("verify", "verified", "fetch"),
    ("fetch", "fetched", "kexec"),
]
