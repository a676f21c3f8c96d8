"""A job: one WebAssembly module, its input, and its resource limits (SPEC M6.1).

Jobs are files of the signed rootfs or entries of the signed manifest. Their signatures cover the
job, so it has none of its own. Its digest names it in the receipt.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Self

from phase_boot.content.cid import Cid
from phase_boot.content.digest import Digest
from phase_boot.trust.fields import list_of, matching, number_of, parsed, table_of, text_of
from phase_boot.trust.refusals import BadField
from phase_boot.trust.strict_json import MAX_STRING, canonical, read_document

MAX_MODULE: Final = 16 * 2**20
"""Bytes of a module; compiling it takes many times as much memory."""
MAX_JOBS: Final = 16
"""Jobs of one manifest."""
MAX_ARGS: Final = 32
MAX_ARG: Final = 1024
"""Characters of one argument."""
MAX_GRANTS: Final = 8
MAX_MEMORY_MIB: Final = 1024
MAX_FUEL: Final = 10**12
"""About 15 minutes of instructions; the limit of the wall time ends a job earlier."""
MAX_WALL_MS: Final = 600_000
MAX_OUTPUT_KIB: Final = 1024

MEMORY_MIB: Final = 64
FUEL: Final = 10**9
WALL_MS: Final = 10_000
OUTPUT_KIB: Final = 64
"""Limits of a job that names none: about a second of work."""

JOB_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
_FIELDS: Final = (
    *("name", "module", "size", "cid", "args", "stdin"),
    *("memory_mib", "fuel", "wall_ms", "output_kib", "grants"),
)
# No component is . or .., and the root folder is never granted.
_HOST: Final = re.compile(r"(?:/(?!\.{1,2}(?:/|$))[A-Za-z0-9._-]{1,64}){1,8}")
_GUEST: Final = re.compile(r"/[a-z0-9][a-z0-9._-]{0,31}")
_ARG: Final = re.compile(rf"[^\0]{{0,{MAX_ARG}}}")


@dataclass(frozen=True, slots=True)
class Grant:
    """A folder that a job may read: its path on the machine, and its path inside the job."""

    host: str
    guest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One job, as it was signed."""

    name: str
    module: Digest
    size: int
    """Bytes of the module."""
    cid: Cid | None
    """Root of the module's DAG, if IPFS may have it."""
    args: tuple[str, ...]
    stdin: str
    memory_mib: int
    fuel: int
    wall_ms: int
    output_kib: int
    """Of stdout and stderr together."""
    grants: tuple[Grant, ...]
    digest: Digest
    """Digest of the canonical form of the job."""

    @classmethod
    def of(cls, value: object, field: str = "job") -> Self:
        """Read a parsed job; ``field`` is its path in the document.

        Raises:
            BadField: a field is missing, of another type, out of its bounds, or unknown.
        """
        table = table_of(value, field)
        for name in table:
            if name not in _FIELDS:
                raise BadField(field=f"{field}.{name}", reason="no such field")
        cid = table.get("cid")
        return cls(
            name=matching(table.get("name"), f"{field}.name", JOB_NAME),
            module=parsed(table.get("module"), f"{field}.module", Digest.parse),
            size=number_of(table.get("size"), f"{field}.size", least=1, most=MAX_MODULE),
            cid=None if cid is None else parsed(cid, f"{field}.cid", Cid.parse),
            args=_args(table, field),
            stdin=_stdin(table, field),
            memory_mib=_limit(table, field, "memory_mib", MEMORY_MIB, MAX_MEMORY_MIB),
            fuel=_limit(table, field, "fuel", FUEL, MAX_FUEL),
            wall_ms=_limit(table, field, "wall_ms", WALL_MS, MAX_WALL_MS),
            output_kib=_limit(table, field, "output_kib", OUTPUT_KIB, MAX_OUTPUT_KIB),
            grants=_grants(table, field),
            digest=job_digest(table),
        )


def read_job(raw: bytes) -> Job:
    """Return the job in a file.

    Raises:
        Refusal: the file is not a valid document or job.
    """
    return Job.of(read_document(raw))


def job_digest(table: Mapping[str, object]) -> Digest:
    """Return the sha256 of the canonical form (RFC 8785) of a parsed job."""
    return Digest.of(canonical(table))


def _args(table: Mapping[str, object], field: str) -> tuple[str, ...]:
    field = f"{field}.args"
    return tuple(
        matching(arg, field, _ARG) for arg in list_of(table.get("args", []), field, most=MAX_ARGS)
    )


def _stdin(table: Mapping[str, object], field: str) -> str:
    text = text_of(table.get("stdin", ""), f"{field}.stdin")
    if len(text) > MAX_STRING:
        raise BadField(field=f"{field}.stdin", reason=f"longer than {MAX_STRING} characters")
    return text


def _limit(table: Mapping[str, object], field: str, name: str, default: int, most: int) -> int:
    return number_of(table.get(name, default), f"{field}.{name}", least=1, most=most)


def _grants(table: Mapping[str, object], field: str) -> tuple[Grant, ...]:
    field = f"{field}.grants"
    listed = list_of(table.get("grants", []), field, most=MAX_GRANTS)
    grants = tuple(_grant(entry, field) for entry in listed)
    if len({grant.guest for grant in grants}) != len(grants):
        raise BadField(field=field, reason="two of one guest name")
    return grants


def _grant(entry: object, field: str) -> Grant:
    match entry:
        case {"host": host, "guest": guest, **others} if not others:
            return Grant(
                matching(host, f"{field}.host", _HOST), matching(guest, f"{field}.guest", _GUEST)
            )
        case _:
            raise BadField(field=field, reason="an entry is not a host and a guest folder")
