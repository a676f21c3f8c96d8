"""Carry Ethernet frames between a virtual cable and QEMU where /dev/net/tun may not be opened.

`tap_relay.py PORT FAR OURS THEIRS`: frames that leave the bridge by PORT arrive at FAR and go to
socket THEIRS; what QEMU sends to the socket OURS goes out of FAR. Runs alone, with no import from
the project, as root of the lab's namespace.
"""

from __future__ import annotations

import contextlib
import fcntl
import selectors
import socket
import struct
import sys
from typing import Final

_EVERY_PROTOCOL: Final = 0x0003
_SIOCETHTOOL: Final = 0x8946
_OFFLOADS: Final = (0x17, 0x1F, 0x25)  # ETHTOOL_STXCSUM, _STSO, _SGSO
_LARGEST_FRAME: Final = 65536


def finish_frames(port: str) -> None:
    """Make the kernel compute checksums and cut segments before frames leave by `port`."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        for offload in _OFFLOADS:
            value = bytearray(struct.pack("II", offload, 0))
            address = _address_of(value)
            request = struct.pack("16sP", port.encode(), address)
            fcntl.ioctl(control, _SIOCETHTOOL, request)


def _address_of(buffer: bytearray) -> int:
    import ctypes  # noqa: PLC0415

    return ctypes.addressof(ctypes.c_char.from_buffer(buffer))


def carry(far: str, ours: str, theirs: str) -> None:
    """Relay for ever; a frame that QEMU is not there to take is lost, as on any cable."""
    wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_EVERY_PROTOCOL))
    wire.bind((far, 0))
    machine = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    machine.bind(ours)
    with selectors.DefaultSelector() as ready:
        ready.register(wire, selectors.EVENT_READ)
        ready.register(machine, selectors.EVENT_READ)
        while True:
            for key, _ in ready.select():
                if key.fileobj is machine:
                    with contextlib.suppress(OSError):
                        wire.send(machine.recv(_LARGEST_FRAME))
                    continue
                frame, address = wire.recvfrom(_LARGEST_FRAME)
                if address[2] != socket.PACKET_OUTGOING:
                    with contextlib.suppress(OSError):
                        machine.sendto(frame, theirs)


if __name__ == "__main__":
    finish_frames(sys.argv[1])
    carry(*sys.argv[2:5])
