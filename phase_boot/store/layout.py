"""The mirror layout: the path of each file on a SITE, a bucket or a CDN (SPEC "Mirror layout")."""

from __future__ import annotations

import re
from typing import Final

from phase_boot.content.arch import Arch
from phase_boot.content.cid import Cid
from phase_boot.content.digest import Digest
from phase_boot.trust.fields import parse_channel
from phase_boot.trust.ipns_name import IpnsName

MANIFEST: Final = "manifest.json"
ROOTS: Final = "root"
ENTRIES: Final = "cas/sha256"
DAGS: Final = "dag"
_CAR: Final = ".car"
RECEIPTS: Final = "receipts"
"""Receipts of machines that booted, one folder for each node; not part of a mirror."""
ANNOUNCE: Final = "announce"
"""The path of the tracker of a provider, to which peers announce; not part of a mirror."""
RECORDS: Final = ("routing/v1/ipns", "ipns")
"""Folders of the IPNS records: the paths of the delegated routing API and of a gateway.

Both hold the same bytes, so that a plain web server answers clients of either.
"""
RECORD_TYPE: Final = "application/vnd.ipfs.ipns-record"
"""Media type under which a server sends an IPNS record."""
_ROOT: Final = re.compile(rf"{ROOTS}/([1-9][0-9]{{0,9}})\.json")


def manifest_path(channel: str, arch: Arch) -> str:
    """Return the path of the current manifest below the root of a mirror."""
    return f"{parse_channel(channel)}/{arch}/{MANIFEST}"


def kept_manifest_path(channel: str, arch: Arch, signed: Digest) -> str:
    """Return the path under which every published manifest stays.

    ``signed`` is the sha256 of the bytes that its signatures cover; receipts refer to it.
    """
    return f"{parse_channel(channel)}/{arch}/manifests/{signed.hex}.json"


def root_path(version: int) -> str:
    """Return the path of a root below the root of a mirror."""
    return f"{ROOTS}/{version}.json"


def entry_path(digest: Digest) -> str:
    """Return the path of an artifact below the root of a mirror."""
    return f"{ENTRIES}/{digest.hex}"


def kept_record_name(name: IpnsName) -> str:
    """Return the file name of the newest record of ``name`` beside a machine's trust state."""
    return f"{name}.ipns-record"


def dag_path(root: Cid) -> str:
    """Return the path of the CAR of interior nodes of a file below the root of a mirror."""
    return f"{DAGS}/{root}{_CAR}"


def record_paths(name: IpnsName) -> tuple[str, ...]:
    """Return the paths of the IPNS record of ``name`` below the root of a mirror."""
    return tuple(f"{folder}/{name}" for folder in RECORDS)


def read_manifest_path(path: str) -> tuple[str, Arch] | None:
    """Return the channel and architecture of the manifest at this path, or None."""
    match path.split("/"):
        case [channel, arch, name] if name == MANIFEST and arch in set(Arch):
            try:
                return parse_channel(channel), Arch(arch)
            except ValueError:
                return None
    return None


def read_root_path(path: str) -> int | None:
    """Return the version of the root at this path, or None."""
    found = _ROOT.fullmatch(path)
    return int(found[1]) if found else None


def read_entry_path(path: str) -> Digest | None:
    """Return the digest of the artifact at this path, or None."""
    folder, _, name = path.rpartition("/")
    if folder != ENTRIES:
        return None
    try:
        return Digest(name)
    except ValueError:
        return None


def read_dag_path(path: str) -> Cid | None:
    """Return the root CID of the DAG whose interior nodes are at this path, or None."""
    folder, _, name = path.rpartition("/")
    if folder != DAGS or not name.endswith(_CAR):
        return None
    try:
        return Cid.parse(name.removesuffix(_CAR))
    except ValueError:
        return None


def read_record_path(path: str) -> IpnsName | None:
    """Return the name of the IPNS record at this path, or None."""
    folder, _, name = path.rpartition("/")
    if folder not in RECORDS:
        return None
    try:
        return IpnsName.parse(name)
    except ValueError:
        return None
