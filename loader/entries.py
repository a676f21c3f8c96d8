"""Renders loader.conf and the entries of systemd-boot (UAPI Boot Loader Specification)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

MENU: Final = ("internet", "local", "private")
"""The modes in menu order; the first is the default."""
TITLES: Final = {
    "internet": "Internet: asks this network, then servers beyond it",
    "local": "Local: asks this network alone",
    "private": "Private: as Internet, without public servers of IPFS; writes nothing",
}
"""What each mode asks, in one line of a text console; docs/wan.md has the rest."""
NAME: Final = re.compile(r"[A-Za-z0-9+_.-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One Type #1 entry of the Boot Loader Specification.

    Attributes:
        name: the file name without `.conf`, which is the entry's id.
        title: the text in the menu.
        sort_key: the key that orders the menu.
        version: the seed's version.
        linux: the kernel, an absolute path on the ESP.
        initrd: the initramfs, an absolute path on the ESP.
        efi: instead of both, an EFI program, an absolute path on the ESP.
        options: the kernel command line.
    """

    name: str
    title: str
    sort_key: str
    version: str
    linux: str = ""
    initrd: str = ""
    efi: str = ""
    options: str = ""

    def __post_init__(self) -> None:
        """Refuse values that the boot loader would misread."""
        if not NAME.fullmatch(self.name):
            raise ValueError(f"{self.name!r} cannot name an entry: use letters, digits and +_.-")
        started = (self.efi,) if self.efi else (self.linux, self.initrd, self.options)
        for field in (self.title, self.sort_key, self.version, *started):
            if not field or "\n" in field:
                raise ValueError(f"{field!r}: a line of an entry is one line, and not empty")
        if self.efi and (self.linux or self.initrd or self.options):
            raise ValueError(f"{self.efi!r} brings its own kernel, initramfs and command line")
        for path in filter(None, (self.linux, self.initrd, self.efi)):
            if not path.startswith("/"):
                raise ValueError(f"{path!r}: paths of an entry start at the root of the ESP")

    def text(self) -> str:
        """Return the content of the entry's file."""
        lines = {
            "title": self.title,
            "sort-key": self.sort_key,
            "version": self.version,
            "linux": self.linux,
            "initrd": self.initrd,
            "efi": self.efi,
            "options": self.options,
        }
        return "".join(f"{key} {value}\n" for key, value in lines.items() if value)


def menu(*, version: str, linux: str, initrd: str, options: str) -> tuple[Entry, ...]:
    """Return the three entries; they differ only in `phase.mode=`.

    That word comes first, where nothing in ``options`` can quote it or end the kernel's parameters.
    """
    return tuple(
        Entry(
            name=f"phase-{mode}",
            title=TITLES[mode],
            sort_key=f"phase-{rank}",
            version=version,
            linux=linux,
            initrd=initrd,
            options=f"phase.mode={mode} {options}",
        )
        for rank, mode in enumerate(MENU, start=1)
    )


def configuration(*, timeout: int) -> str:
    """Return loader.conf: the menu for ``timeout`` seconds, then its first entry.

    The editor is disabled: a command line typed at the menu would bypass the policy.
    """
    lines = {
        "timeout": str(timeout),
        "default": f"phase-{MENU[0]}.conf",
        "editor": "no",
        "auto-entries": "no",
        "auto-firmware": "no",
    }
    return "".join(f"{key} {value}\n" for key, value in lines.items())
