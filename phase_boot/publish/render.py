"""Rendering manifests for their signers: complete, and in printable ASCII.

A signer relies on the screen, so control characters are escaped and unknown fields come first.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Final

from phase_boot.content.digest import Digest
from phase_boot.publish.dates import rfc3339
from phase_boot.publish.keys.signing import signature_states
from phase_boot.trust.job import Job
from phase_boot.trust.manifest import Manifest, signed_bytes
from phase_boot.trust.signatures import SIGNATURES

KNOWN: Final = frozenset(field.name for field in fields(Manifest)) | {"sizes"}
"""The fields of a manifest that have their own line."""
_FEW: Final = 8
_SHORT: Final = 80


def manifest_lines(document: Mapping[str, object]) -> Iterator[str]:
    """Yield the fields of a manifest and its signatures.

    Raises:
        Refusal: a field is invalid.
    """
    manifest = Manifest.of(document)
    yield from other_lines(document, KNOWN)
    yield row("version", str(manifest.version))
    yield row("channel", manifest.channel)
    yield row("arch", manifest.arch)
    yield row("issued", rfc3339(manifest.issued))
    yield row("expires", rfc3339(manifest.expires))
    yield row("cmdline", text(manifest.cmdline))
    for artifact in manifest.artifacts.values():
        dag, chunks = manifest.dags.get(artifact.name), manifest.chunk_lists.get(artifact.name)
        yield row(artifact.name, f"{artifact.digest}, {artifact.size} bytes")
        if dag is not None:
            yield row("", f"as the DAG {dag}")
        if chunks is not None:
            yield row("", f"with the chunk list {chunks}")
    for mirror in manifest.mirrors:
        yield row("mirror", mirror)
    for job in manifest.jobs:
        yield from _job_lines(job)
    yield from signature_lines(document, signed_bytes(document))


def _job_lines(job: Job) -> Iterator[str]:
    """Yield the module, the arguments, the grants and the limits of a job."""
    yield row("job", f"{job.name} runs {job.module}, {job.size} bytes")
    yield row("", f"at most {job.memory_mib} MiB, {job.fuel} fuel, {job.wall_ms} ms")
    if job.args:
        yield row("", f"with {_short(' '.join(map(text, job.args)))}")
    for grant in job.grants:
        yield row("", f"may read {grant.host} as {grant.guest}")


def other_lines(document: Mapping[str, object], known: frozenset[str]) -> Iterator[str]:
    """Yield the signed fields that are unknown to this version.

    They come first and shortened, so that they cannot push the known fields off the screen.
    """
    names = sorted(document.keys() - known - {SIGNATURES})
    for name in names[:_FEW]:
        yield row("unknown", f"{_short(text(name))}: {_short(text(str(document[name])))}")
    if len(names) > _FEW:
        yield row("unknown", f"and {len(names) - _FEW} more fields")


def _short(shown: str) -> str:
    return shown if len(shown) <= _SHORT else f"{shown[:_SHORT]}... ({len(shown)} characters)"


def signature_lines(document: Mapping[str, object], message: bytes) -> Iterator[str]:
    """Yield the digest of the signed bytes, and each signature with its state."""
    yield row("signs", str(Digest.of(message)))
    for claim, holds in signature_states(document, message):
        state = "holds" if holds else "DOES NOT HOLD"
        yield row("signature", f"{ascii(claim.keyid)[1:-1]} {state}")


def row(name: str, value: str) -> str:
    """Return a line of the table."""
    return f"  {name:<10}  {value}"


def text(value: str) -> str:
    """Return a text in quotes, with all but printable ASCII escaped."""
    return ascii(value)
