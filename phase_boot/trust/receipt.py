"""A receipt: which machine ran which job, after which boot, and how it ended (SPEC M6.2).

The node's own key signs it. That key proves that receipts come from one machine, and nothing about
the machine: docs/receipts.md says what a receipt means and what it does not.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum, unique
from types import MappingProxyType
from typing import Final, Protocol, Self

from phase_boot.content.arch import Arch
from phase_boot.content.digest import Digest
from phase_boot.content.version import Version
from phase_boot.trust.fields import (
    matching,
    number_of,
    parse_channel,
    parse_date,
    parsed,
    table_of,
)
from phase_boot.trust.job import JOB_NAME
from phase_boot.trust.keys import parse_keyid
from phase_boot.trust.manifest import Manifest
from phase_boot.trust.refusals import (
    BadField,
    ReceiptBadSignature,
    ReceiptNotCanonical,
    ReceiptUnsigned,
    ReceiptWrongManifest,
    ReceiptWrongModule,
    ReceiptWrongNode,
    ReceiptWrongSigner,
)
from phase_boot.trust.signatures import SIGNATURES, claims_of, signed_form
from phase_boot.trust.strict_json import MAX_INTEGER, canonical, read_document

CONTEXT: Final = b"phase-boot-receipt-v1\n"
"""What the signed bytes start with, so that no signature fits two kinds of document."""
SCHEMA: Final = 1
MAX_BYTES: Final = 16 * 1024
"""Bytes of one receipt."""
MAX_DEPTH: Final = 3
MAX_REASON: Final = 200
"""Characters of why a job ended as it did."""
MAX_EXIT: Final = 2**32 - 1
"""The largest exit code that WASI has."""
NO_MODE: Final = "none"
"""The mode of a machine that Phase Boot did not boot."""
MODES: Final = ("internet", "local", "private", NO_MODE)

_FIELDS: Final = frozenset(
    (
        *("schema", "job", "module", "runtime", "arch", "mode", "booted", "started", "wall_us"),
        *("cpu_us", "memory_bytes", "fuel", "outcome", "exit", "reason", "stdout", "stderr"),
        "node",
    )
)
_RUNTIME: Final = re.compile(r"[a-z0-9-]{1,32} [0-9A-Za-z.+-]{1,32}")
_REASON: Final = re.compile(rf"[ -~]{{0,{MAX_REASON}}}")
_PCR: Final = re.compile(r"[0-9]|1[0-9]|2[0-3]")
_PCR_VALUE: Final = re.compile(r"[0-9a-f]{64}")


@unique
class Outcome(StrEnum):
    """How a job ended."""

    EXITED = "exited"
    """By itself, with a status."""
    TRAPPED = "trapped"
    """It did what WebAssembly forbids, or something ended its process."""
    OUT_OF_FUEL = "out-of-fuel"
    OUT_OF_TIME = "out-of-time"
    OUT_OF_MEMORY = "out-of-memory"
    TOO_MUCH_OUTPUT = "too-much-output"
    UNUSABLE_MODULE = "unusable-module"
    """The module is not what the job names, or nothing that can be run."""
    NOT_RUN = "not-run"
    """The job was not started."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Booted:
    """What Phase Boot booted this machine into."""

    version: Version
    channel: str
    manifest: Digest
    """Of the bytes that the manifest's signatures cover."""
    pcrs: Mapping[int, str]
    """Values of the TPM's sha256 bank in hex, as far as there is a TPM."""

    def table(self) -> dict[str, object]:
        """Return it as a receipt spells it."""
        return {
            "version": str(self.version),
            "channel": self.channel,
            "manifest": str(self.manifest),
            "pcrs": {str(number): value for number, value in self.pcrs.items()},
        }


@dataclass(frozen=True, slots=True)
class Output:
    """What a job wrote to one of its streams: the sha256 of it, and how many bytes."""

    digest: Digest
    size: int

    @classmethod
    def of(cls, data: bytes) -> Self:
        """Return what stands for ``data``."""
        return cls(Digest.of(data), len(data))

    def table(self) -> dict[str, object]:
        """Return it as a receipt spells it."""
        return {"sha256": self.digest.hex, "bytes": self.size}


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What one machine says of one run of one job."""

    job: str
    """Its name."""
    job_digest: Digest
    module: Digest
    """As the job names it, whether it was found or not."""
    runtime: str
    arch: Arch
    mode: str
    booted: Booted | None
    started: datetime
    wall_us: int
    cpu_us: int
    memory_bytes: int
    """The most of linear memory that it had."""
    fuel: int
    """What it used up."""
    outcome: Outcome
    exit: int | None
    """The status that it exited with, where it did."""
    reason: str
    """In a few words, where it did not."""
    stdout: Output
    stderr: Output
    node: str
    """The key id of the machine."""

    def table(self) -> dict[str, object]:
        """Return the fields as the signature covers them."""
        return {
            "schema": SCHEMA,
            "job": {"name": self.job, "sha256": self.job_digest.hex},
            "module": str(self.module),
            "runtime": self.runtime,
            "arch": str(self.arch),
            "mode": self.mode,
            "booted": None if self.booted is None else self.booted.table(),
            "started": self.started.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "wall_us": self.wall_us,
            "cpu_us": self.cpu_us,
            "memory_bytes": self.memory_bytes,
            "fuel": self.fuel,
            "outcome": str(self.outcome),
            "exit": self.exit,
            "reason": self.reason,
            "stdout": self.stdout.table(),
            "stderr": self.stderr.table(),
            "node": self.node,
        }


class Signer(Protocol):
    """What signs for a machine: its key, or whoever keeps that."""

    @property
    def keyid(self) -> str:
        """The name of the machine."""

    def sign(self, message: bytes) -> bytes:
        """Return the 64 bytes of the signature over ``message``."""


def sign_receipt(key: Signer, receipt: Receipt) -> bytes:
    """Return the file of ``receipt``, signed by the node's ``key``.

    Raises:
        Refusal: readers would refuse it, so it is not kept.
    """
    body = receipt.table()
    sig = base64.b64encode(key.sign(signed_bytes(body))).decode("ascii")
    raw = canonical({**body, SIGNATURES: [{"keyid": key.keyid, "sig": sig}]})
    read_receipt(raw)
    return raw


def read_receipt(raw: bytes) -> Receipt:
    """Return what the receipt in ``raw`` says, signed by the node that it names.

    A receipt has one spelling, and the signature is judged before all that it says but the node.

    Raises:
        Refusal: the first check that fails.
    """
    document = read_document(raw, limit=MAX_BYTES, depth=MAX_DEPTH)
    if raw != canonical(document):
        raise ReceiptNotCanonical
    return _receipt(document, _signer(document))


def check_node(receipt: Receipt, keyid: str) -> None:
    """Raise ReceiptWrongNode if another machine than ``keyid`` signed it."""
    if receipt.node != keyid:
        raise ReceiptWrongNode(found=receipt.node, wanted=keyid)


def check_module(receipt: Receipt, module: Digest) -> None:
    """Raise ReceiptWrongModule if it is of another module."""
    if receipt.module != module:
        raise ReceiptWrongModule(found=receipt.module, wanted=module)


def check_booted(receipt: Receipt, manifest: Manifest, digest: Digest) -> None:
    """Raise ReceiptWrongManifest if the machine did not boot ``manifest``, by its own word.

    ``digest`` is that of the manifest's signed bytes.
    """
    booted = receipt.booted
    if booted is None:
        raise ReceiptWrongManifest(field="manifest", found="nothing", wanted=digest)
    for field, found, wanted in (
        ("manifest", booted.manifest, digest),
        ("version", booted.version, manifest.version),
        ("channel", booted.channel, manifest.channel),
        ("arch", receipt.arch, manifest.arch),
    ):
        if found != wanted:
            raise ReceiptWrongManifest(field=field, found=found, wanted=wanted)


def signed_bytes(document: Mapping[str, object]) -> bytes:
    """Return the bytes that the signature of ``document`` covers: all of it but ``signatures``."""
    return signed_form(document, CONTEXT)


def _signer(document: Mapping[str, object]) -> str:
    """Return the node that is named, which must be the one that signed."""
    node = parsed(document.get("node"), "node", parse_keyid)
    claims = claims_of(document)
    if len(claims) != 1:
        raise ReceiptUnsigned(found=len(claims))
    (claim,) = claims
    if claim.keyid != node:
        raise ReceiptWrongSigner(found=claim.keyid, wanted=node)
    if not claim.holds(signed_bytes(document)):
        raise ReceiptBadSignature(keyid=node)
    return node


def _receipt(document: Mapping[str, object], node: str) -> Receipt:
    _check_names(document, _FIELDS | {SIGNATURES}, "")
    number_of(document["schema"], "schema", least=SCHEMA, most=SCHEMA)
    job = _table(document["job"], "job", {"name", "sha256"})
    outcome = parsed(document["outcome"], "outcome", Outcome)
    return Receipt(
        job=matching(job["name"], "job.name", JOB_NAME),
        job_digest=parsed(job["sha256"], "job.sha256", Digest),
        module=parsed(document["module"], "module", Digest.parse),
        runtime=matching(document["runtime"], "runtime", _RUNTIME),
        arch=parsed(document["arch"], "arch", Arch),
        mode=parsed(document["mode"], "mode", _mode),
        booted=_booted(document["booted"]),
        started=parsed(document["started"], "started", parse_date),
        wall_us=_count(document, "wall_us"),
        cpu_us=_count(document, "cpu_us"),
        memory_bytes=_count(document, "memory_bytes"),
        fuel=_count(document, "fuel"),
        outcome=outcome,
        exit=_exit(document["exit"], outcome),
        reason=matching(document["reason"], "reason", _REASON),
        stdout=_output(document["stdout"], "stdout"),
        stderr=_output(document["stderr"], "stderr"),
        node=node,
    )


def _check_names(table: Mapping[str, object], names: frozenset[str], prefix: str) -> None:
    for name in sorted(names - set(table)):
        raise BadField(field=f"{prefix}{name}", reason="missing")
    for name in sorted(set(table) - names):
        raise BadField(field=f"{prefix}{name}", reason="no such field")


def _table(value: object, field: str, names: set[str]) -> Mapping[str, object]:
    table = table_of(value, field)
    _check_names(table, frozenset(names), f"{field}.")
    return table


def _count(document: Mapping[str, object], field: str) -> int:
    return number_of(document[field], field, least=0, most=MAX_INTEGER)


def _mode(text: str) -> str:
    if text not in MODES:
        raise ValueError(f"a mode is one of {', '.join(MODES)}")
    return text


def _exit(value: object, outcome: Outcome) -> int | None:
    if outcome is Outcome.EXITED:
        return number_of(value, "exit", least=0, most=MAX_EXIT)
    if value is not None:
        raise BadField(field="exit", reason="a job that did not exit has none")
    return None


def _output(value: object, field: str) -> Output:
    table = _table(value, field, {"sha256", "bytes"})
    digest = parsed(table["sha256"], f"{field}.sha256", Digest)
    return Output(digest, number_of(table["bytes"], f"{field}.bytes", least=0, most=MAX_INTEGER))


def _booted(value: object) -> Booted | None:
    if value is None:
        return None
    table = _table(value, "booted", {"version", "channel", "manifest", "pcrs"})
    pcrs = table_of(table["pcrs"], "booted.pcrs")
    return Booted(
        version=parsed(table["version"], "booted.version", Version.parse),
        channel=parsed(table["channel"], "booted.channel", parse_channel),
        manifest=parsed(table["manifest"], "booted.manifest", Digest.parse),
        pcrs=MappingProxyType(
            {
                int(matching(number, "booted.pcrs", _PCR)): matching(
                    digest, "booted.pcrs", _PCR_VALUE
                )
                for number, digest in pcrs.items()
            }
        ),
    )
