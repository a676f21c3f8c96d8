"""The manifest: a publisher's signed description of one version of an OS (SPEC M3.1)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Final, Self

from phase_boot.content.arch import Arch
from phase_boot.content.artifact import Artifact
from phase_boot.content.cid import Cid
from phase_boot.content.digest import Digest
from phase_boot.content.version import Version
from phase_boot.trust.fields import (
    MAX_MIRRORS,
    list_of,
    matching,
    number_of,
    parse_channel,
    parse_date,
    parse_mirror,
    parsed,
    table_of,
)
from phase_boot.trust.job import MAX_JOBS, Job
from phase_boot.trust.refusals import BadField
from phase_boot.trust.signatures import signed_form

REQUIRED: Final = ("kernel", "initramfs", "rootfs")
"""Artifacts that every manifest must name."""
CONTEXT: Final = b"phase-boot-manifest-v1\n"
"""Prefix of the signed bytes: a signature fits one kind of document only."""
MAX_ARTIFACTS: Final = 32
MAX_SIZE: Final = 2**40
"""Bytes of one artifact."""
MAX_CMDLINE: Final = 1024
"""Characters of the target's command line: half of the kernel's limit, Phase Boot adds the rest."""

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_CMDLINE: Final = re.compile(rf"[ -~]{{0,{MAX_CMDLINE}}}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """The known fields of a manifest. The signature covers unknown fields too."""

    version: Version
    channel: str
    arch: Arch
    artifacts: Mapping[str, Artifact]
    cmdline: str
    issued: datetime
    expires: datetime
    mirrors: tuple[str, ...]
    dags: Mapping[str, Cid]
    chunk_lists: Mapping[str, Cid]
    """The CIDs of the chunk lists of those DAGs as files of IPFS, where they were published."""
    jobs: tuple[Job, ...]
    """Jobs that the OS runs after its start, in this order."""

    @classmethod
    def of(cls, document: Mapping[str, object]) -> Self:
        """Read the fields of a parsed manifest.

        Raises:
            BadField: a field is missing, of another type, or out of its bounds.
        """
        artifacts = _artifacts(document)
        manifest = cls(
            version=parsed(document.get("version"), "version", Version.parse),
            channel=parsed(document.get("channel"), "channel", parse_channel),
            arch=parsed(document.get("arch"), "arch", Arch.parse),
            artifacts=MappingProxyType(artifacts),
            cmdline=matching(document.get("cmdline", ""), "cmdline", _CMDLINE),
            issued=parsed(document.get("issued"), "issued", parse_date),
            expires=parsed(document.get("expires"), "expires", parse_date),
            mirrors=_mirrors(document),
            dags=MappingProxyType(_cids(document, "dags", artifacts)),
            chunk_lists=MappingProxyType(_cids(document, "chunk_lists", artifacts)),
            jobs=_jobs(document),
        )
        if manifest.expires <= manifest.issued:
            raise BadField(field="expires", reason="not later than issued")
        return manifest

    def lists_of_dags(self) -> dict[Cid, Cid]:
        """Return the CID of the chunk list of each DAG that has one."""
        lists = self.chunk_lists
        return {dag: lists[name] for name, dag in self.dags.items() if name in lists}


def signed_bytes(document: Mapping[str, object]) -> bytes:
    """Return the bytes that a signature covers: the document without ``signatures``."""
    return signed_form(document, CONTEXT)


def _artifacts(document: Mapping[str, object]) -> dict[str, Artifact]:
    digests = table_of(document.get("artifacts"), "artifacts")
    sizes = table_of(document.get("sizes"), "sizes")
    if len(digests) > MAX_ARTIFACTS:
        raise BadField(field="artifacts", reason=f"more than {MAX_ARTIFACTS}")
    for name in REQUIRED:
        if name not in digests:
            raise BadField(field=f"artifacts.{name}", reason="missing")
    for name in sizes:
        if name not in digests:
            raise BadField(field=f"sizes.{name}", reason="no such artifact")
    return {name: _artifact(name, digests, sizes) for name in digests}


def _artifact(name: str, digests: Mapping[str, object], sizes: Mapping[str, object]) -> Artifact:
    field = f"artifacts.{name}"
    if not _NAME.fullmatch(name):
        raise BadField(field=field, reason="not a name")
    size = number_of(sizes.get(name), f"sizes.{name}", least=1, most=MAX_SIZE)
    return Artifact(name, parsed(digests[name], field, Digest.parse), size)


def _mirrors(document: Mapping[str, object]) -> tuple[str, ...]:
    value = list_of(document.get("mirrors", []), "mirrors", most=MAX_MIRRORS)
    return tuple(parsed(mirror, "mirrors", parse_mirror) for mirror in value)


def _cids(
    document: Mapping[str, object], field: str, artifacts: Mapping[str, Artifact]
) -> dict[str, Cid]:
    cids = table_of(document.get(field, {}), field)
    for name in cids:
        if name not in artifacts:
            raise BadField(field=f"{field}.{name}", reason="no such artifact")
    return {name: parsed(cid, f"{field}.{name}", Cid.parse) for name, cid in cids.items()}


def _jobs(document: Mapping[str, object]) -> tuple[Job, ...]:
    listed = list_of(document.get("jobs", []), "jobs", most=MAX_JOBS)
    return tuple(Job.of(job, f"jobs.{number}") for number, job in enumerate(listed))
