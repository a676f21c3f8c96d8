"""A receipt: which machine ran which job, after which boot, and with which outcome (SPEC M6.2).

The key of the node signs it. The signature proves that receipts come from one machine, and nothing
about that machine; docs/receipts.md lists what a receipt proves and what it does not.
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
"""Prefix of the signed bytes: a signature fits one kind of document only."""
SCHEMA: Final = 1
MAX_BYTES: Final = 16 * 1024
"""Bytes of one receipt."""
MAX_DEPTH: Final = 3
MAX_REASON: Final = 200
"""Characters of the reason of an outcome."""
MAX_EXIT: Final = 2**32 - 1
"""The largest exit code of WASI."""
NO_MODE: Final = "none"
"""Mode of a machine that Phase Boot did not boot."""
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
    """The job exited with a status."""
    TRAPPED = "trapped"
    """The job violated a rule of WebAssembly, or its process was killed."""
    OUT_OF_FUEL = "out-of-fuel"
    OUT_OF_TIME = "out-of-time"
    OUT_OF_MEMORY = "out-of-memory"
    TOO_MUCH_OUTPUT = "too-much-output"
    UNUSABLE_MODULE = "unusable-module"
    """The module has another digest than the job names, or cannot be compiled."""
    NOT_RUN = "not-run"
    """The job was not started."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Booted:
    """The version that Phase Boot booted on this machine."""

    version: Version
    channel: str
    manifest: Digest
    """Digest of the bytes that the signatures of the manifest cover."""
    pcrs: Mapping[int, str]
    """Registers of the sha256 bank of the TPM in hex; empty without a TPM."""

    def table(self) -> dict[str, object]:
        """Return the JSON object of it."""
        return {
            "version": str(self.version),
            "channel": self.channel,
            "manifest": str(self.manifest),
            "pcrs": {str(number): value for number, value in self.pcrs.items()},
        }


@dataclass(frozen=True, slots=True)
class Output:
    """Output of a job on one stream: its sha256 and its number of bytes."""

    digest: Digest
    size: int

    @classmethod
    def of(cls, data: bytes) -> Self:
        """Return the digest and the size of ``data``."""
        return cls(Digest.of(data), len(data))

    def table(self) -> dict[str, object]:
        """Return the JSON object of it."""
        return {"sha256": self.digest.hex, "bytes": self.size}


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """The claims of one machine about one run of one job."""

    job: str
    """Its name."""
    job_digest: Digest
    module: Digest
    """Digest that the job names, whether the module was found or not."""
    runtime: str
    arch: Arch
    mode: str
    booted: Booted | None
    started: datetime
    wall_us: int
    cpu_us: int
    memory_bytes: int
    """Peak of its linear memory."""
    fuel: int
    """Fuel that the run consumed."""
    outcome: Outcome
    exit: int | None
    """Exit status; None for any other outcome than EXITED."""
    reason: str
    """Reason of any other outcome, in a few words."""
    stdout: Output
    stderr: Output
    node: str
    """Key id of the machine."""

    def table(self) -> dict[str, object]:
        """Return the fields that the signature covers."""
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
    """Signs for a machine: its key, or a process that holds the key."""

    @property
    def keyid(self) -> str:
        """Key id of the machine."""

    def sign(self, message: bytes) -> bytes:
        """Return the 64 bytes of the signature over ``message``."""


def sign_receipt(key: Signer, receipt: Receipt) -> bytes:
    """Return the file of ``receipt``, signed by ``key`` of the node.

    Raises:
        Refusal: a reader would refuse the receipt.
    """
    body = receipt.table()
    sig = base64.b64encode(key.sign(signed_bytes(body))).decode("ascii")
    raw = canonical({**body, SIGNATURES: [{"keyid": key.keyid, "sig": sig}]})
    read_receipt(raw)
    return raw


def read_receipt(raw: bytes) -> Receipt:
    """Return the receipt in ``raw``, after its signature by the node that it names was verified.

    A receipt has one canonical form. The signature is verified before any field but the node.

    Raises:
        Refusal: the first check that fails.
    """
    document = read_document(raw, limit=MAX_BYTES, depth=MAX_DEPTH)
    if raw != canonical(document):
        raise ReceiptNotCanonical
    return _receipt(document, _signer(document))


def check_node(receipt: Receipt, keyid: str) -> None:
    """Raise ReceiptWrongNode if another node than ``keyid`` signed it."""
    if receipt.node != keyid:
        raise ReceiptWrongNode(found=receipt.node, wanted=keyid)


def check_module(receipt: Receipt, module: Digest) -> None:
    """Raise ReceiptWrongModule if it names another module."""
    if receipt.module != module:
        raise ReceiptWrongModule(found=receipt.module, wanted=module)


def check_booted(receipt: Receipt, manifest: Manifest, digest: Digest) -> None:
    """Raise ReceiptWrongManifest if the receipt claims another boot than that of ``manifest``.

    ``digest`` is that of the signed bytes of the manifest.
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
    """Return the bytes that the signature covers: the document without ``signatures``."""
    return signed_form(document, CONTEXT)


def _signer(document: Mapping[str, object]) -> str:
    """Return the key id of the node, which must be the signer."""
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
