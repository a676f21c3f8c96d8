"""Reads back privacy settings from Linux, systemd-networkd and EFI variables.

Private mode promises what it does not send or write. The state Net compares the promises with this
evidence, because a configured setting may fail silently.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from phase_boot.adapters.boot.efi_variables import EfiVariables
from phase_boot.adapters.net.interfaces import Interfaces
from phase_boot.ports.privacy import Configuration, Evidence, Unreadable
from phase_boot.safefs.atomic import PUBLIC, replace

SNAPSHOT: Final = "run/phase-boot/variables.json"
"""Digests that the first run of this boot found; a restarted daemon compares with them."""
NETWORKD: Final = "run/systemd/netif"
CACHE: Final = "PARTNAME=phase-cache"
MAX_BYTES: Final = 1 << 20
"""Bytes that are read of one file, at most."""
GATEWAY: Final = 0x2
"""RTF_GATEWAY."""
_READS, _WRITES, _DISCARDS = 0, 4, 11
"""Columns of /sys/class/block/*/stat that count completed requests
(Documentation/admin-guide/iostats.rst)."""


class LinuxPrivacy:
    """Implements `ports.privacy.Privacy` in the seed.

    Args:
        root: where /proc, /sys, /etc and /run are, for tests.
        interfaces: the network interfaces.
        variables: the EFI variables.
        node_name: returns the kernel's node name.
    """

    def __init__(
        self,
        *,
        root: Path = Path("/"),
        interfaces: Interfaces | None = None,
        variables: EfiVariables | None = None,
        node_name: Callable[[], str] = lambda: os.uname().nodename,
    ) -> None:
        self._root = root
        self._interfaces = interfaces or Interfaces(root=root)
        self._variables = variables or EfiVariables()
        self._node_name = node_name

    async def begin(self) -> None:
        """Take a snapshot of the EFI variables, unless an earlier run of this boot took it."""
        await asyncio.to_thread(self._begin)

    async def evidence(self) -> Evidence:
        """Read the evidence in a thread, as firmware may be slow."""
        try:
            return await asyncio.to_thread(self._evidence)
        except (ValueError, IndexError) as error:
            raise Unreadable(f"a file of the system has another format: {error}") from error

    async def routes(self) -> tuple[str, ...]:
        """Read the kernel's routing tables."""
        try:
            return await asyncio.to_thread(lambda: tuple(sorted(set(self._gateways()))))
        except (ValueError, IndexError) as error:
            raise Unreadable(f"a table of routes has another format: {error}") from error

    def _gateways(self) -> Iterator[str]:
        """Yield the interface of each route through a gateway."""
        for row in self._read("proc/net/route").splitlines()[1:]:
            # Interface, destination, gateway, flags, ...
            words = row.split()
            if int(words[3], 16) & GATEWAY:
                yield words[0]
        for row in self._read("proc/net/ipv6_route", required=False).splitlines():
            # Destination, prefix length, source, prefix length, next hop, metric, two counters,
            # flags, interface.
            words = row.split()
            if int(words[8], 16) & GATEWAY:
                yield words[9]

    def _begin(self) -> None:
        path = self._root / SNAPSHOT
        if path.exists():
            return
        digests = self._digests()
        try:
            replace(path, json.dumps(digests).encode("ascii"), PUBLIC)
        except OSError as error:
            raise Unreadable(f"{path} cannot be written: {error.strerror}") from error

    def _evidence(self) -> Evidence:
        found = self._interfaces.found()
        before, now = self._snapshot(), self._digests()
        return Evidence(
            interfaces=tuple(interface for _, interface in found),
            configurations=tuple(self._configurations([(i, each.name) for i, each in found])),
            host_name=self._node_name(),
            shipped_name=self._read("etc/hostname").strip(),
            mounts=tuple(self._mounts()),
            swaps=tuple(row.split()[0] for row in self._read("proc/swaps").splitlines()[1:]),
            opened=tuple(self._opened()),
            variables=tuple(
                sorted(
                    name for name in before.keys() | now.keys() if before.get(name) != now.get(name)
                )
            ),
            compared=len(now),
        )

    def _configurations(self, interfaces: list[tuple[int, str]]) -> Iterator[Configuration]:
        for index, name in interfaces:
            state = _assignments(self._read(f"{NETWORKD}/links/{index}", required=False))
            if file := state.get("NETWORK_FILE"):
                lease = _assignments(self._read(f"{NETWORKD}/leases/{index}", required=False))
                files = [file, *state.get("NETWORK_FILE_DROPINS", "").strip('"').split(":")]
                association = state.get("DHCP6_CLIENT_IAID")
                yield Configuration(
                    interface=name,
                    settings=tuple(self._settings(files)),
                    client=lease.get("CLIENTID"),
                    unique=state.get("DHCP6_CLIENT_DUID"),
                    association=int(association, 0) if association else None,
                )

    def _settings(self, files: list[str]) -> Iterator[tuple[str, str]]:
        for file in filter(None, files):
            section = ""
            for line in self._read(file.lstrip("/")).splitlines():
                if line.startswith("["):
                    section = line.strip("[]")
                elif "=" in line and not line.startswith(("#", ";")):
                    key, _, value = line.partition("=")
                    yield f"{section}.{key}", value

    def _mounts(self) -> Iterator[str]:
        for row in self._read("proc/self/mountinfo").splitlines():
            # ID, parent, device, root, mount point, ..., -, type, source, options (proc(5)).
            before, _, after = row.partition(" - ")
            device, where = before.split()[2], before.split()[4]
            kind, source = after.split()[:2]
            # A squashfs is read-only; the Seed partition is one.
            on_disk = not device.startswith("0:") or source.startswith("/dev/")
            if on_disk and kind != "squashfs":
                yield where

    def _opened(self) -> Iterator[str]:
        for uevent in sorted((self._root / "sys/class/block").glob("*/uevent")):
            name = uevent.parent.name
            if CACHE in self._read(f"sys/class/block/{name}/uevent").splitlines():
                counts = self._read(f"sys/class/block/{name}/stat").split()
                if any(int(counts[at]) for at in (_READS, _WRITES, _DISCARDS)):
                    yield name

    def _snapshot(self) -> dict[str, str]:
        try:
            found = json.loads(self._read(SNAPSHOT))
        except ValueError as error:
            raise Unreadable(f"/{SNAPSHOT} is damaged") from error
        if not isinstance(found, dict):
            raise Unreadable(f"/{SNAPSHOT} is damaged")
        return found

    def _digests(self) -> dict[str, str]:
        try:
            return self._variables.digests()
        except OSError as error:
            raise Unreadable(f"the EFI variables cannot be read: {error.strerror}") from error

    def _read(self, name: str, *, required: bool = True) -> str:
        """Return the text of a file, empty for a missing one unless ``required``.

        Raises:
            Unreadable: the file cannot be read.
        """
        try:
            with (self._root / name).open("rb") as file:
                return file.read(MAX_BYTES).decode("utf-8", "backslashreplace")
        except FileNotFoundError as error:
            if not required:
                return ""
            raise Unreadable(f"/{name} is not there") from error
        except OSError as error:
            raise Unreadable(f"/{name} cannot be read: {error.strerror}") from error


def _assignments(text: str) -> dict[str, str]:
    """Return the assignments in a state file of systemd-networkd."""
    rows = (line.partition("=") for line in text.splitlines() if not line.startswith("#"))
    return {key: value.strip('"') for key, _, value in rows}
