"""Sample jobs and receipts, and the key of the node that signs them."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Final

from phase_boot.content.arch import Arch
from phase_boot.content.digest import Digest
from phase_boot.content.version import Version
from phase_boot.drill.sample_manifest import document as manifest_document
from phase_boot.trust.job import Job
from phase_boot.trust.keys import SigningKey
from phase_boot.trust.manifest import signed_bytes as signed_manifest
from phase_boot.trust.receipt import Booted, Outcome, Output, Receipt, signed_bytes
from phase_boot.trust.strict_json import canonical

NODE: Final = SigningKey(b"\x31" * 32)
OTHER_NODE: Final = SigningKey(b"\x32" * 32)
MODULE: Final = b"\0asm\x01\0\0\0"
"""The smallest valid module; it has no code."""


def job_table(**changes: object) -> dict[str, object]:
    """Return a good job as a JSON object, with some fields changed; None omits one."""
    fields: dict[str, object] = {
        "name": "hello",
        "module": str(Digest.of(MODULE)),
        "size": len(MODULE),
        "args": ["hello", "again"],
        "stdin": "Phase Boot\n",
        "memory_mib": 16,
        "fuel": 10_000_000,
        "wall_ms": 5000,
        "output_kib": 16,
        "grants": [{"host": "/usr/share/doc", "guest": "/doc"}],
    }
    fields.update(changes)
    return {name: value for name, value in fields.items() if value is not None}


def job(**changes: object) -> Job:
    """Return a good job, with some fields changed."""
    return Job.of(job_table(**changes))


def booted(**changes: Any) -> Booted:
    """Return the `booted` part of a receipt for the drill's manifest."""
    fields: dict[str, Any] = {
        "version": Version.parse("2025.11.12"),
        "channel": "stable",
        "manifest": Digest.of(signed_manifest(manifest_document())),
        "pcrs": MappingProxyType({4: "ab" * 32}),
    }
    return Booted(**fields | changes)


def receipt(**changes: Any) -> Receipt:
    """Return a good receipt of the drill's job, with some fields changed."""
    fields: dict[str, Any] = {
        "job": "hello",
        "job_digest": job().digest,
        "module": Digest.of(MODULE),
        "runtime": "wasmtime 50.0.1",
        "arch": Arch.AMD64,
        "mode": "local",
        "booted": booted(),
        "started": datetime(2025, 11, 20, 7, 30, 5, tzinfo=UTC),
        "wall_us": 2100,
        "cpu_us": 1900,
        "memory_bytes": 65536,
        "fuel": 1234,
        "outcome": Outcome.EXITED,
        "exit": 0,
        "reason": "",
        "stdout": Output.of(b"tooB esahP"),
        "stderr": Output.of(b""),
        "node": NODE.keyid,
    }
    return Receipt(**fields | changes)


def sealed(body: Mapping[str, object], *keys: SigningKey) -> bytes:
    """Return the file of any table, signed by the node unless others are named."""
    message = signed_bytes(body)
    signatures = [
        {"keyid": key.keyid, "sig": base64.b64encode(key.sign(message)).decode("ascii")}
        for key in keys or (NODE,)
    ]
    return canonical({**body, "signatures": signatures})
