"""What a boot may leave behind, and how it is looked for: on disk, in EFI, on the cable, in RAM."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from image.lab.machine import Machine
from image.lab.memory_search import find_all
from image.lab.network import Lab
from image.lab.pcap import Packet, read_packets
from image.lab.qemu_args import CAPTURE
from image.lab.vm_disks import VmDisks

DHCP = frozenset({67, 68, 546, 547})
MDNS = 5353
ND = frozenset({133, 135, 136, 143})
"""Router and neighbour solicitations, advertisements, and reports of multicast memberships."""


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """The sha256 of a stick and of an EFI variable store."""

    disk: str
    variables: str

    @classmethod
    def of(cls, durable: VmDisks) -> Fingerprint:
        return cls(_sha256(durable.disk), _sha256(durable.variables))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sent(machine: Machine, lab: Lab) -> tuple[Packet, ...]:
    """Every frame that the guest put on the cable, whatever it called itself."""
    others = _addresses(lab)
    return tuple(
        each for each in read_packets(machine.folder / CAPTURE) if each.from_mac not in others
    )


def received(machine: Machine, lab: Lab) -> tuple[Packet, ...]:
    """Every frame that reached the guest."""
    others = _addresses(lab)
    return tuple(each for each in read_packets(machine.folder / CAPTURE) if each.from_mac in others)


def _addresses(lab: Lab) -> frozenset[str]:
    """Return the hardware addresses of the lab's own side of the cable."""
    links = json.loads(lab.run(["ip", "-json", "link"]))
    return frozenset(link["address"] for link in links)


def unexpected(frames: Iterable[Packet], *, tcp: frozenset[int]) -> Iterator[str]:
    """Yield what is no part of getting an address, asking by mDNS, or fetching from ``tcp``."""
    for frame in frames:
        match frame.protocol:
            case "arp" | "igmp":
                continue
            case "icmpv6" if frame.kind in ND:
                continue
            case "udp" if frame.target_port in DHCP:
                continue
            # A question; an answer, which would announce something, has the first bit of flags.
            case "udp" if frame.target_port == MDNS and not frame.payload[2] & 0x80:
                continue
            case "tcp" if frame.target_port in tcp:
                continue
        yield f"{frame.family} {frame.protocol} to {frame.target}:{frame.target_port}"


def naming(frames: Iterable[Packet], names: Iterable[str | bytes]) -> list[str | bytes]:
    """Return which of ``names`` stand in any of ``frames``."""
    seen = tuple(frames)
    return [name for name in names if any(frame.contains(name) for frame in seen)]


def remembered(machine: Machine, words: tuple[str, ...]) -> set[str]:
    """Return which of ``words`` stand anywhere in the machine's memory now."""
    dump = machine.folder / "memory.elf"
    machine.dump_memory(dump)
    try:
        return {str(word) for word, where in find_all(dump, words).items() if where}
    finally:
        dump.unlink()
