"""The identifiers of one image, derived from its content (docs/adr/0014-identity.md).

Equal inputs give equal identifiers, so builds stay byte-identical. Images that differ anywhere in
the seed's root differ in every identifier, so no program takes one image for another.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

NAMESPACE: Final = "phase-boot-image-v1"
_GUID_BYTES: Final = 16
_CUSTOM_VERSION, _RFC_VARIANT = 0x80, 0x80
"""RFC 9562: version 8 is for custom derivations."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identifiers:
    """Identifiers of the partition table and of Cache's file system; GUIDs in lower case.

    Attributes:
        disk: GUID of the partition table.
        esp: GUID of the EFI system partition.
        seed: GUID of the Seed partition.
        cache: GUID of the Cache partition.
    """

    disk: str
    esp: str
    seed: str
    cache: str


def seed_identifier(squashfs: Path) -> str:
    """Return the GUID of the Seed partition that holds ``squashfs``.

    The loader's entries name it, so it follows from the squashfs alone. Every other identifier
    follows from it; a scheme that takes it from a dm-verity root hash replaces this function.
    """
    return _guid("seed", _sha256(squashfs))


def esp_serial(files: Mapping[str, bytes], size: int) -> str:
    """Return the FAT serial number of an ESP of ``size`` bytes with ``files``: 8 hex digits."""
    digests = [f"{name} {hashlib.sha256(data).hexdigest()}" for name, data in files.items()]
    return _derived("esp-serial", str(size), *sorted(digests))[:4].hex()


def cache_filesystem(squashfs: Path, esp: Path, size: int) -> str:
    """Return the UUID of the ext4 of ``size`` bytes on Cache; its hash seed is the same."""
    return _guid("cache-filesystem", _sha256(squashfs), _sha256(esp), str(size))


def identifiers(squashfs: Path, esp: Path, cache: Path) -> Identifiers:
    """Return the identifiers of the disk that holds these three file systems."""
    seed = seed_identifier(squashfs)
    whole = (seed, _sha256(esp), _sha256(cache))
    return Identifiers(
        disk=_guid("disk", *whole),
        esp=_guid("esp", *whole),
        seed=seed,
        cache=_guid("cache", *whole),
    )


def _guid(*parts: str) -> str:
    raw = bytearray(_derived(*parts)[:_GUID_BYTES])
    raw[6] = raw[6] & 0x0F | _CUSTOM_VERSION
    raw[8] = raw[8] & 0x3F | _RFC_VARIANT
    text = raw.hex()
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


def _derived(*parts: str) -> bytes:
    return hashlib.sha256("\n".join((NAMESPACE, *parts)).encode()).digest()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
