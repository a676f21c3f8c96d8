"""The disks that the init scripts of seed and target choose, run by busybox among fakes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from image.recipe import DEVICES, SEED_FILES, TARGET_FILES
from phase_boot.adapters.boot.sysfs_disks import disks_with
from phase_boot.drill.sample_manifest import NOW, document, signed
from phase_boot.handoff.document import CachePartition
from phase_boot.handoff.document import document as handoff
from phase_boot.trust.verify import verify
from tests.support.block_devices import (
    AHCI,
    CACHE,
    ESP,
    FOREIGN_CACHE,
    FOREIGN_ESP,
    FOREIGN_SEED,
    NVME,
    SEED,
    USB2_HUB,
    USB3,
    USB3_NEXT,
    VIRTIO,
    VIRTIO_SCSI,
    Computer,
)
from tests.support.manifests import REQUIREMENTS, TRUST

LOOKS_IN_THIRTY_SECONDS = 300
PLACES = (VIRTIO, NVME, AHCI, VIRTIO_SCSI, USB3, USB3_NEXT, USB2_HUB)
FOREIGN = (FOREIGN_ESP, FOREIGN_SEED, FOREIGN_CACHE)
STUBS = 'mount() { :; }\nmodprobe() { :; }\nrefuse() { echo "refused: $1"; exit; }\n'
DISKS = [VIRTIO, USB3, NVME]


@pytest.fixture
def busybox() -> str:
    program = shutil.which("busybox")
    if program is None and os.environ.get("CI") != "true":
        pytest.skip("busybox is not here; `make setup` installs it")
    assert program
    return program


@pytest.fixture
def computer(tmp_path: Path) -> Computer:
    machine = Computer(Path(os.path.realpath(tmp_path)))
    machine.controllers()
    return machine


def functions(script: Path) -> str:
    """The functions of a script, without what it does by itself."""
    lines, found, inside = script.read_text().splitlines(), [], False
    for line in lines:
        inside |= line.endswith("() {")
        if inside:
            found.append(line)
        inside &= line != "}"
    return "\n".join(found)


def search(script: Path, first: str, last: str) -> str:
    """The lines of a script from one that begins with `first` to the one before `last`."""
    lines = script.read_text().splitlines()
    begin = next(number for number, line in enumerate(lines) if line.strip().startswith(first))
    end = next(number for number, line in enumerate(lines) if line.strip().startswith(last))
    return "\n".join(lines[begin:end])


def plugged_in_after(looks: int, machine: Computer) -> str:
    """A stub of `sleep` that lets the disks of the machine appear when it is called so often."""
    listed = machine.root / "sys/class/block"
    listed.rename(listed.with_name("later"))
    return (
        f"slept=0\nsleep() {{ slept=$((slept + 1)); "
        f"[ $slept -lt {looks} ] || mv {listed.with_name('later')} {listed} 2>/dev/null; }}\n"
    )


def run(busybox: str, machine: Computer, script: Path, commands: str) -> str:
    """Run commands after the functions of a script, in a machine that is a folder."""
    text = functions(DEVICES) + "\n" + functions(script)
    for folder in ("/sys/", "/dev/", "/phase/"):
        text = text.replace(folder, f"{machine.root}{folder}")
    text = text.replace(f"{machine.root}/dev/null", "/dev/null")
    done = subprocess.run(
        [busybox, "sh", "-c", f"{text}\n{STUBS}\n{commands}"],
        capture_output=True,
        check=False,
        text=True,
    )
    assert done.stderr == ""
    return done.stdout.strip()


def seed_of(busybox: str, machine: Computer) -> str:
    commands = f"wanted={SEED} seed= loader=; read_loader; find_seed; echo $seed"
    return run(busybox, machine, SEED_FILES / "init", commands)


@pytest.mark.parametrize("mine", DISKS)
@pytest.mark.parametrize("knows", [True, False], ids=["given", "not given"])
def test_seed_is_never_that_of_another_publisher(
    busybox: str, computer: Computer, mine: str, *, knows: bool
) -> None:
    for at in DISKS:
        computer.plug(at, (ESP, SEED, CACHE) if at == mine else FOREIGN)
    if knows:
        computer.loaded_from(ESP)
    name = Path(mine).name
    assert seed_of(busybox, computer) == (f"{name}p2" if name[-1].isdigit() else f"{name}2")


def test_the_stick_of_another_publisher_is_not_used(busybox: str, computer: Computer) -> None:
    computer.plug(VIRTIO, FOREIGN)
    computer.loaded_from(ESP)
    assert seed_of(busybox, computer) == ""


@pytest.mark.parametrize("mine", DISKS)
def test_seed_is_on_the_disk_that_the_loader_came_from(
    busybox: str, computer: Computer, mine: str
) -> None:
    """The same root of trust with another loader partition is another stick."""
    for at in DISKS:
        computer.plug(at, (ESP if at == mine else FOREIGN_ESP, SEED, CACHE))
    computer.loaded_from(ESP)
    assert seed_of(busybox, computer).startswith(Path(mine).name)


def test_of_two_copies_one_is_booted(busybox: str, computer: Computer) -> None:
    for at in DISKS:
        computer.plug(at)
    computer.loaded_from(ESP)
    assert seed_of(busybox, computer) in {"vda2", "sdd2", "nvme0n1p2"}


def test_a_stick_that_enumerates_after_any_time_is_found(busybox: str, computer: Computer) -> None:
    computer.plug(USB3)
    computer.loaded_from(ESP)
    late = plugged_in_after(LOOKS_IN_THIRTY_SECONDS + 50, computer)
    loop = search(SEED_FILES / "init", "load_drivers virtio", 'echo "$disk"')
    loop = loop.replace("/dev/", f"{computer.root}/dev/")
    commands = f"{late}wanted={SEED} seed= loader= tries=0; read_loader\n{loop}\necho $seed $slept"
    seed, slept = run(busybox, computer, SEED_FILES / "init", commands).split()
    assert (seed, int(slept)) == ("sdd2", LOOKS_IN_THIRTY_SECONDS + 50)
    assert "found it" in (computer.root / "dev/kmsg").read_text()


def test_a_cache_that_enumerates_after_any_time_is_found(busybox: str, computer: Computer) -> None:
    computer.plug(USB3)
    (known,) = disks_with(SEED, root=computer.root)
    hand_over(computer, CachePartition(guid=CACHE, location=known.location))
    late = plugged_in_after(LOOKS_IN_THIRTY_SECONDS + 50, computer)
    loop = search(TARGET_FILES / "init", "load_drivers virtio", "mkdir -p /run/phase/cache")
    commands = f"{late}{READ} tries=0\n{loop}\necho $cache $slept"
    cache, slept = run(busybox, computer, TARGET_FILES / "init", commands).split()
    assert (Path(cache).name, int(slept)) == ("sdd3", LOOKS_IN_THIRTY_SECONDS + 50)
    assert "waiting for the Cache partition" in (computer.root / "dev/kmsg").read_text()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\6\0\0\0",
        b"\7\0\0\0" + FOREIGN_ESP.encode("utf-16-le") + b"\0\0",
        b"\6\0\0\0" + FOREIGN_ESP.encode("utf-16-le") * 3,
        b"\6\0\0\0" + "$(reboot)".encode("utf-16-le") + b"\0\0",
    ],
)
def test_a_hostile_variable_is_ignored(busybox: str, computer: Computer, content: bytes) -> None:
    computer.plug(VIRTIO)
    computer.loaded_from(ESP)
    (variable,) = computer.variables.iterdir()
    variable.write_bytes(content)
    assert seed_of(busybox, computer) == "vda2"


def test_both_kernels_give_a_disk_the_same_location(busybox: str, computer: Computer) -> None:
    for at in PLACES:
        disk = computer.plug(at)
        output = run(busybox, computer, TARGET_FILES / "init", f"location {disk}")
        (known,) = [each for each in disks_with(SEED, root=computer.root) if each.name == disk.name]
        assert output == known.location
        assert output


def hand_over(machine: Computer, cache: CachePartition | None, sources: Sequence[str] = ()) -> None:
    verified = verify(signed(document()), trust=TRUST, requirements=REQUIREMENTS, now=NOW)
    lines = ['\n "cache": {\n  "guid": "journal"\n }', "cache"]
    raw = handoff(
        mode="local",
        manifest=verified,
        network=None,
        cache=cache,
        sources=dict.fromkeys(sources, "http://liar"),
        journal=lines,
    )
    (machine.root / "phase").mkdir()
    (machine.root / "phase/handoff.json").write_bytes(raw)


READ = "guid=$(handoff_field guid) handoff_location=$(handoff_field location) cache="
TOLD = f"{READ}; echo $guid $handoff_location"
FIND = f"{READ}; find_cache; echo $cache"


def test_the_target_reads_cache_from_the_hand_over_and_from_no_text_in_it(
    busybox: str, computer: Computer
) -> None:
    cache = CachePartition(guid=CACHE, location="/pci0000:00/0000:00:03.0/virtio")
    hand_over(computer, cache, sources=("guid", "location"))
    output = run(busybox, computer, TARGET_FILES / "init", TOLD)
    assert output == f"{cache.guid} {cache.location}"


def test_a_target_without_a_handed_over_cache_uses_none(busybox: str, computer: Computer) -> None:
    hand_over(computer, None, sources=("guid", "location"))
    computer.plug(VIRTIO)
    assert run(busybox, computer, TARGET_FILES / "init", TOLD) == ""
    assert run(busybox, computer, TARGET_FILES / "init", FIND) == ""


@pytest.mark.parametrize("mine", PLACES)
def test_the_target_takes_the_cache_that_was_handed_over_among_copies(
    busybox: str, computer: Computer, mine: str
) -> None:
    for at in PLACES:
        computer.plug(at)
    known = {disk.name: disk for disk in disks_with(SEED, root=computer.root)}
    name = Path(mine).name
    hand_over(computer, CachePartition(guid=CACHE, location=known[name].location))
    found = Path(run(busybox, computer, TARGET_FILES / "init", FIND))
    assert found.parent == computer.root / "sys/devices" / mine
    assert found.name == (f"{name}p3" if name[-1].isdigit() else f"{name}3")


def test_the_target_refuses_another_cache_at_that_location_and_that_cache_at_another(
    busybox: str, computer: Computer
) -> None:
    hand_over(computer, CachePartition(guid=CACHE, location="/pci0000:00/0000:00:03.0/virtio"))
    computer.plug(VIRTIO, FOREIGN)
    computer.plug(USB3)
    assert run(busybox, computer, TARGET_FILES / "init", FIND) == ""


def test_two_copies_in_one_socket_are_refused(busybox: str, computer: Computer) -> None:
    computer.plug(USB3)
    computer.plug(USB3.replace("usb2/2-1/2-1:", "usb1/1-1/1-1:").replace("sdd", "sdf"))
    (one, other) = disks_with(SEED, root=computer.root)
    assert one.location == other.location
    hand_over(computer, CachePartition(guid=CACHE, location=one.location))
    assert run(busybox, computer, TARGET_FILES / "init", FIND).startswith("refused: two disks")


def test_the_document_of_the_hand_over_keeps_the_shape_that_the_script_reads(
    computer: Computer,
) -> None:
    hand_over(computer, CachePartition(guid=CACHE, location="/x"))
    text = (computer.root / "phase/handoff.json").read_text()
    assert f'\n "cache": {{\n  "guid": "{CACHE}",\n  "location": "/x"\n }},\n' in text
    assert json.loads(text)["cache"] == {"guid": CACHE, "location": "/x"}
