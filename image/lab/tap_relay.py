"""Forward Ethernet frames between a veth pair and QEMU where /dev/net/tun does not open.

`tap_relay.py PORT FAR OURS THEIRS`: PORT, on the bridge, and FAR are the ends of a veth pair.
Frames that arrive at FAR go to QEMU's socket THEIRS; frames that QEMU sends to the socket OURS
leave by FAR. The file runs by itself, without imports from the project, as root of the lab's
namespace.
"""

from __future__ import annotations

import contextlib
import fcntl
import selectors
import socket
import struct
import sys
from typing import Final

_ETH_P_ALL: Final = 0x0003
_SIOCETHTOOL: Final = 0x8946
_OFFLOADS: Final = (0x17, 0x1F, 0x25)  # ETHTOOL_STXCSUM, _STSO, _SGSO
_MAX_FRAME: Final = 65536


def finish_frames(port: str) -> None:
    """Turn off checksum and segmentation offload of `port`: no hardware completes its frames."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        for offload in _OFFLOADS:
            value = bytearray(struct.pack("II", offload, 0))
            address = _address_of(value)
            request = struct.pack("16sP", port.encode(), address)
            fcntl.ioctl(control, _SIOCETHTOOL, request)


def _address_of(buffer: bytearray) -> int:
    import ctypes  # noqa: PLC0415

    return ctypes.addressof(ctypes.c_char.from_buffer(buffer))


def forward(far: str, ours: str, theirs: str) -> None:
    """Forward frames until the process ends; a frame that QEMU does not accept is lost."""
    raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL))
    raw.bind((far, 0))
    qemu = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    qemu.bind(ours)
    with selectors.DefaultSelector() as selector:
        selector.register(raw, selectors.EVENT_READ)
        selector.register(qemu, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fileobj is qemu:
                    with contextlib.suppress(OSError):
                        raw.send(qemu.recv(_MAX_FRAME))
                    continue
                frame, address = raw.recvfrom(_MAX_FRAME)
                if address[2] != socket.PACKET_OUTGOING:
                    with contextlib.suppress(OSError):
                        qemu.sendto(frame, theirs)


if __name__ == "__main__":
    finish_frames(sys.argv[1])
    forward(*sys.argv[2:5])
