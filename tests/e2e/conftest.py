"""A publisher, a target and a stick for each architecture, built as a person would build them.

One xdist worker per architecture: two machines at once, which is what two cores carry.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from image.accel import choose
from image.guest_events import Event
from image.hardware import Hardware
from image.qemu import Machine
from image.serving import PROGRAM, promised
from image.stages import REPORT
from phase_boot.trust.arch import Arch
from phase_boot.trust.manifest import Manifest

CHANNEL = "stable"
GOING_WRONG = ("shell.opened", "run.ended", "crashed")
BOOT_SECONDS = 420.0


def on(arch: Arch) -> object:
    """The parameter `arch` of a test, on the worker that has this architecture."""
    return pytest.param(arch, id=str(arch), marks=pytest.mark.xdist_group(str(arch)))


AMD64 = pytest.mark.parametrize("arch", [on(Arch.AMD64)])
BOTH = pytest.mark.parametrize("arch", [on(Arch.AMD64), on(Arch.ARM64)])


@dataclass(frozen=True, slots=True)
class Published:
    """A SITE, a stick that trusts its publisher, and a machine to boot it on."""

    arch: Arch
    site: Path
    stick: Path
    manifest: Manifest
    hardware: Hardware

    def artifact(self, name: str) -> Path:
        """Where the SITE keeps an artifact."""
        return self.site / "cas" / "sha256" / self.manifest.artifacts[name].digest.hex


@pytest.fixture(scope="session")
def made() -> dict[Arch, Published]:
    """What this worker has built so far."""
    return {}


@pytest.fixture
def published(arch: Arch, made: dict[Arch, Published], request: pytest.FixtureRequest) -> Published:
    """Everything that a boot of `arch` takes; built once."""
    if arch not in made:
        folder = request.config.rootpath / "build" / "e2e" / arch
        made[arch] = publish(arch, folder)
    return made[arch]


def publish(arch: Arch, folder: Path) -> Published:
    key, site, stick = folder / "publisher.key", folder / "site", folder / "stick.img"
    folder.mkdir(parents=True, exist_ok=True)
    if not key.exists():
        program(str(PROGRAM), "key", "new", str(key))
    keyid = program(str(PROGRAM), "key", "show", str(key)).split()[-1]
    builder = (sys.executable, "-m", "image")
    common = ("--arch", str(arch), "--channel", CHANNEL)
    program(*builder, "target", *common, "--key", str(key), "--site", str(site))
    program(*builder, "build", *common, "--key", keyid, "--out", str(stick))
    manifest = promised(site, arch, CHANNEL, key)
    kernel = site / "cas" / "sha256" / manifest.artifacts["kernel"].digest.hex
    hardware = Hardware(arch=arch, memory=768, accel=choose(arch, kernel).accel)
    return Published(arch, site, stick, manifest, hardware)


def program(*argv: str) -> str:
    done = subprocess.run(argv, check=False, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(argv)}\n{done.stdout[-4000:]}{done.stderr[-4000:]}"
    return done.stdout


def with_one_bit_flipped(published: Published, artifact: str, copy: Path) -> Path:
    """A copy of the SITE whose `artifact` differs in one bit from what was signed."""
    shutil.copytree(published.site, copy)
    victim = copy / published.artifact(artifact).relative_to(published.site)
    content = bytearray(victim.read_bytes())
    content[len(content) // 2] ^= 0x10
    victim.chmod(0o644)
    victim.write_bytes(content)
    return copy


def replayed(machine: Machine, folder: Path) -> list[str]:
    """The states that `phase-boot replay` finds in what the seed wrote down."""
    journal = folder / "journal.jsonl"
    lines = (machine.folder / "events.jsonl").read_text().splitlines(keepends=True)
    journal.write_text("".join(line for line in lines if f'"event":"{REPORT}"' not in line))
    return program(str(PROGRAM), "replay", str(journal)).strip().split(" -> ")


def moves(machine: Machine) -> list[tuple[str, str, str]]:
    """Every transition as (source, trigger, target)."""
    return [
        (event.text("source"), event.text("trigger"), event.text("target"))
        for event in machine.named("transition")
    ]


def stored_and_sound(machine: Machine) -> set[str]:
    """Stop the machine, check its Cache, and return the digests of what is published in it."""
    machine.stop()
    cache = machine.stick.cache(machine.folder)
    cache.check()
    artifacts = cache.artifacts()
    assert {name: digest.hex for name, digest in artifacts.items()} == {
        name: name for name in artifacts
    }
    return set(artifacts)


def sources(events: list[Event]) -> dict[str, str]:
    """Where each artifact came from in the end."""
    return {event.text("artifact"): event.text("source") for event in events}
