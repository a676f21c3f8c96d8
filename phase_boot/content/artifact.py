"""The description of one file of a release: what the store and a download need to know of it.

It stands apart from the manifest that lists it, so that the store needs no trust code for it.
"""

from __future__ import annotations

from dataclasses import dataclass

from phase_boot.content.digest import Digest


@dataclass(frozen=True, slots=True)
class Artifact:
    """One file of an OS: what it is for, the sha256 of its bytes, and its size in bytes."""

    name: str
    digest: Digest
    size: int
