"""Reader of Boot#### variables: an EFI_LOAD_OPTION and the device path in it.

UEFI Specification 2.10, sections 3.1.3 (load options) and 10.3 (device path nodes). The content is
not trusted: any program that ran on the machine before may have written it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, TypeAlias
from uuid import UUID

MAX_VARIABLE: Final = 4096
"""Bytes of a variable that are read, at most."""
MAX_NODES: Final = 32
_HEAD: Final = struct.Struct("<IH")
_NODE: Final = struct.Struct("<BBH")
_PCI_ROOTS: Final = frozenset({0x0A0341D0, 0x0A0841D0})
"""The EISA identifiers PNP0A03 and PNP0A08."""
_GUID_SIGNATURE: Final = 2
_NO_MULTIPLIER: Final = 0x8000
"""The bit of a SATA node that says that no port multiplier is in between."""
_END: Final = 0x7F


class BadLoadOption(ValueError):
    """The bytes are not a load option; ``str`` is the reason."""


@dataclass(frozen=True, slots=True)
class PciRoot:
    """A root bridge by its ACPI _UID."""

    uid: str


@dataclass(frozen=True, slots=True)
class Pci:
    """A function of the bus above it."""

    device: int
    function: int


@dataclass(frozen=True, slots=True)
class Usb:
    """A port of the hub above it, counted from 0, and an interface of what is plugged in there."""

    port: int
    interface: int


@dataclass(frozen=True, slots=True)
class Sata:
    """A port of an AHCI controller, counted from 0."""

    port: int


@dataclass(frozen=True, slots=True)
class Atapi:
    """A channel of an IDE controller, and the drive on it; both counted from 0."""

    channel: int
    drive: int


@dataclass(frozen=True, slots=True)
class Scsi:
    """A target and a unit of a SCSI controller."""

    target: int
    lun: int


@dataclass(frozen=True, slots=True)
class Nvme:
    """A namespace of an NVMe controller."""

    namespace: int


@dataclass(frozen=True, slots=True)
class Unit:
    """A logical unit of the device above it."""

    lun: int


@dataclass(frozen=True, slots=True)
class Sd:
    """A slot of an SD or eMMC controller."""

    slot: int


@dataclass(frozen=True, slots=True)
class Unknown:
    """A node of a kind that is not interpreted here."""

    type: int
    subtype: int


Node: TypeAlias = PciRoot | Pci | Usb | Sata | Atapi | Scsi | Nvme | Unit | Sd | Unknown


@dataclass(frozen=True, slots=True, kw_only=True)
class DevicePath:
    """The device path of the program that the firmware started.

    Attributes:
        hardware: the nodes from the root bridge to the disk; empty in a short-form path, which
            begins at the partition.
        partition: the GUID of the partition in lower case, if the path names one of a GPT.
    """

    hardware: tuple[Node, ...] = ()
    partition: str | None = None


def read_load_option(raw: bytes) -> DevicePath:
    """Return the device path of a load option; only the first of several counts.

    Raises:
        BadLoadOption: more than 4096 bytes, more than 32 nodes, or not well-formed.
    """
    if len(raw) > MAX_VARIABLE:
        raise BadLoadOption(f"more than {MAX_VARIABLE} bytes")
    if len(raw) < _HEAD.size:
        raise BadLoadOption("it ends before its head does")
    _attributes, length = _HEAD.unpack_from(raw)
    start = _end_of_text(raw, _HEAD.size)
    if start + length > len(raw):
        raise BadLoadOption("its device path is longer than itself")
    return read_device_path(raw[start : start + length])


def read_device_path(raw: bytes) -> DevicePath:
    """Return the device path in ``raw`` up to the first end node.

    Raises:
        BadLoadOption: no end node, more than 32 nodes, or a node that is not well-formed.
    """
    hardware: list[Node] = []
    partition = None
    for kind, subtype, body in _nodes(raw):
        if (kind, subtype) == (4, 1):
            partition = _partition(body)
            break
        if (kind, subtype) == (4, 4):
            break
        hardware.append(_node(kind, subtype, body))
    return DevicePath(hardware=tuple(hardware), partition=partition)


def _end_of_text(raw: bytes, start: int) -> int:
    """Return the end of the NUL-terminated UTF-16 text at ``start``."""
    for at in range(start, len(raw) - 1, 2):
        if raw[at : at + 2] == b"\0\0":
            return at + 2
    raise BadLoadOption("its description does not end")


def _nodes(raw: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Yield every node of a device path; the caller uses none unless all are well-formed."""
    found: list[tuple[int, int, bytes]] = []
    at = 0
    while True:
        if at + _NODE.size > len(raw):
            raise BadLoadOption("its device path does not end")
        kind, subtype, length = _NODE.unpack_from(raw, at)
        if length < _NODE.size or at + length > len(raw):
            raise BadLoadOption("a node is shorter than its head or longer than its path")
        if kind == _END:
            return iter(found)
        if len(found) == MAX_NODES:
            raise BadLoadOption(f"more than {MAX_NODES} nodes")
        found.append((kind, subtype, raw[at + _NODE.size : at + length]))
        at += length


def _node(kind: int, subtype: int, body: bytes) -> Node:
    """Return a node before the partition; an unknown kind becomes `Unknown`."""
    if (kind, subtype) == (2, 2):
        return _acpi_expanded(body)
    if (kind, subtype) not in _KINDS:
        return Unknown(kind, subtype)
    layout, interpreted = _KINDS[kind, subtype]
    if len(body) != layout.size:
        raise BadLoadOption(f"a node {kind}/{subtype} has {len(body)} bytes, not {layout.size}")
    return interpreted(*layout.unpack(body)) or Unknown(kind, subtype)


def _pci(function: int, device: int) -> Node:
    return Pci(device, function)


def _acpi(hid: int, uid: int) -> Node | None:
    return PciRoot(str(uid)) if hid in _PCI_ROOTS else None


def _atapi(channel: int, drive: int, lun: int) -> Node | None:
    return None if lun else Atapi(channel, drive)


def _sata(port: int, multiplier: int, lun: int) -> Node | None:
    return Sata(port) if multiplier & _NO_MULTIPLIER and not lun else None


_KINDS: Final[Mapping[tuple[int, int], tuple[struct.Struct, Callable[..., Node | None]]]] = (
    MappingProxyType(
        {
            (1, 1): (struct.Struct("<BB"), _pci),
            (2, 1): (struct.Struct("<II"), _acpi),
            (3, 1): (struct.Struct("<BBH"), _atapi),
            (3, 2): (struct.Struct("<HH"), Scsi),
            (3, 5): (struct.Struct("<BB"), Usb),
            (3, 17): (struct.Struct("<B"), Unit),
            (3, 18): (struct.Struct("<HHH"), _sata),
            (3, 23): (struct.Struct("<I8x"), Nvme),
            (3, 26): (struct.Struct("<B"), Sd),
            (3, 29): (struct.Struct("<B"), Sd),
        }
    )
)


def _acpi_expanded(body: bytes) -> Node:
    """Return the root bridge of an expanded ACPI node, whose _UID may be a number or a text."""
    numbers, texts = body[:12], body[12:].split(b"\0")
    if len(numbers) < 12 or len(texts) != 4 or texts[3]:  # noqa: PLR2004 - three of each
        raise BadLoadOption("an expanded ACPI node is not three numbers and three texts")
    hid, uid, cid = struct.unpack("<III", numbers)
    named = {hid, cid} & _PCI_ROOTS or {texts[0], texts[2]} & {b"PNP0A03", b"PNP0A08"}
    if not named:
        return Unknown(2, 2)
    return PciRoot(texts[1].decode("ascii", "replace") or str(uid))


def _partition(body: bytes) -> str | None:
    """Return the GUID that a hard drive node names; None for an MBR's partition."""
    layout = struct.Struct("<IQQ16sBB")
    if len(body) != layout.size:
        raise BadLoadOption(f"a hard drive node has {len(body)} bytes, not {layout.size}")
    *_place, signature, _format, kind = layout.unpack(body)
    return str(UUID(bytes_le=signature)) if kind == _GUID_SIGNATURE else None
