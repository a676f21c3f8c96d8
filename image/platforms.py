"""Table of the differences between the architectures."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from phase_boot.content.arch import Arch


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """One architecture in the spelling of Debian, uv, the UEFI specification and the kernel.

    Attributes:
        arch: Debian's name, which is ours.
        uname: the kernel's name.
        triplet: the folder of its libraries under /usr/lib.
        wheels: uv's name for the wheels that run on Debian 13.
        efi: the architecture's suffix in EFI file names.
        interpreter: the ELF interpreter, relative to the root.
        serial: the first serial port of a PC, a server or a VM.
        root_type: the type GUID of a root partition (UAPI Discoverable Partitions).
    """

    arch: Arch
    uname: str
    triplet: str
    wheels: str
    efi: str
    interpreter: str
    serial: str
    root_type: str


PLATFORMS: Final[Mapping[Arch, Platform]] = MappingProxyType(
    {
        Arch.AMD64: Platform(
            arch=Arch.AMD64,
            uname="x86_64",
            triplet="x86_64-linux-gnu",
            wheels="x86_64-manylinux_2_34",
            efi="x64",
            interpreter="usr/lib64/ld-linux-x86-64.so.2",
            serial="ttyS0",
            root_type="4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709",
        ),
        Arch.ARM64: Platform(
            arch=Arch.ARM64,
            uname="aarch64",
            triplet="aarch64-linux-gnu",
            wheels="aarch64-manylinux_2_34",
            efi="aa64",
            interpreter="usr/lib/ld-linux-aarch64.so.1",
            serial="ttyAMA0",
            root_type="B921B045-1DF0-41C3-AF44-4C6F280D3FAE",
        ),
    }
)


def native() -> Platform:
    """Return the platform of this machine.

    Raises:
        ValueError: The machine is neither of the two.
    """
    return PLATFORMS[Arch.parse(platform.machine())]
