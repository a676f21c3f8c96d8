"""One vector, and the parts that vectors are made of; nothing here is the code under test."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from phase_boot.trust.keys import SigningKey

NOW: Final = "2025-11-20T00:00:00Z"
MANIFEST: Final = b"phase-boot-manifest-v1\n"
ROOT: Final = b"phase-boot-root-v1\n"
RECORD: Final = b"phase-boot-record-v1\n"
RECEIPT: Final = b"phase-boot-receipt-v1\n"

PUBLISHER: Final = SigningKey(b"\x01" * 32)
SECOND: Final = SigningKey(b"\x02" * 32)
THIRD: Final = SigningKey(b"\x03" * 32)
ROOT_KEY: Final = SigningKey(b"\x11" * 32)
NEW_ROOT_KEY: Final = SigningKey(b"\x12" * 32)
THIRD_ROOT_KEY: Final = SigningKey(b"\x13" * 32)
NEW_PUBLISHER: Final = SigningKey(b"\x21" * 32)
NODE: Final = SigningKey(b"\x31" * 32)
UNTRUSTED_KEY: Final = SigningKey(b"\xee" * 32)

Body = Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One vector as its file has it: see README.md."""

    name: str
    kind: str
    documents: Sequence[bytes]
    trusted: Mapping[str, object]
    verdict: str
    wanted: Mapping[str, object] = field(default_factory=dict)
    now: str = NOW
    spaces: int = 0
    floor: str | None = None

    def row(self) -> dict[str, object]:
        """Return it as an object of the file."""
        texts = [text(raw) for raw in self.documents]
        row: dict[str, object] = {"name": self.name, "kind": self.kind}
        row |= {"documents": texts} if self.kind == "roots-chain" else {"document": texts[0]}
        if self.spaces:
            row["spaces"] = self.spaces
        row |= {"trusted": self.trusted, "wanted": self.wanted, "now": self.now}
        row["verdict"] = self.verdict
        if self.kind == "state":
            row["floor"] = self.floor
        return row


def text(raw: bytes) -> str:
    """Return bytes as base64."""
    return base64.b64encode(raw).decode("ascii")


def by_keys(*keys: SigningKey, threshold: int = 1) -> dict[str, object]:
    """Trust these keys."""
    return {"keys": [key.keyid for key in keys], "threshold": threshold}


def by_roots(*roots: bytes) -> dict[str, object]:
    """Trust the first of some roots, and follow the rest."""
    return {"roots": [text(raw) for raw in roots]}


def wanted(**changes: object) -> dict[str, object]:
    """Return what the machine of most vectors wants."""
    fields: dict[str, object] = {
        "arch": "amd64",
        "channel": "stable",
        "min_version": "2025.10.01",
        "seen": None,
    }
    return fields | changes


def manifest(**changes: object) -> dict[str, object]:
    """Return a good manifest without signatures; None leaves a field out."""
    files = {"kernel": b"kernel", "initramfs": b"initramfs", "rootfs": b"rootfs" * 1000}
    fields: dict[str, object] = {
        "version": "2025.11.12",
        "channel": "stable",
        "arch": "amd64",
        "artifacts": {n: f"sha256:{hashlib.sha256(d).hexdigest()}" for n, d in files.items()},
        "sizes": {name: len(data) for name, data in files.items()},
        "issued": "2025-11-12T08:00:00Z",
        "expires": "2025-12-12T08:00:00Z",
        "cmdline": "quiet",
        "mirrors": ["https://mirror.example/stable/"],
    }
    return {name: value for name, value in (fields | changes).items() if value is not None}


def role(*keys: SigningKey, threshold: int = 1, **more: object) -> dict[str, object]:
    """Return keys and a threshold as a root spells them."""
    return {"keys": [key.keyid for key in keys], "threshold": threshold, **more}


def channel(*keys: SigningKey, expires: str = "2026-11-01T00:00:00Z", **more: Any) -> object:
    """Return who publishes a channel."""
    return role(*keys or (PUBLISHER,), expires=expires, **more)


def root(version: int = 1, **changes: object) -> dict[str, object]:
    """Return a good root without signatures; None leaves a field out."""
    fields = {"version": version, "root": role(ROOT_KEY), "channels": {"stable": channel()}}
    return {name: value for name, value in (fields | changes).items() if value is not None}


def canonical(value: object) -> bytes:
    """Return the RFC 8785 form of texts, whole numbers, booleans, null, lists and objects.

    Written for the vectors alone: what they say does not rest on the library that is tested.
    """
    return _canonical(value).encode()


def _canonical(value: object) -> str:
    if isinstance(value, dict):
        names = sorted(value, key=lambda name: name.encode("utf-16-be"))
        return "{" + ",".join(f"{_canonical(n)}:{_canonical(value[n])}" for n in names) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_canonical, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


def message(body: Body, context: bytes) -> bytes:
    """Return what a signature over ``body`` covers."""
    return context + canonical(dict(body))


def entry(body: Body, key: SigningKey = PUBLISHER, context: bytes = MANIFEST) -> dict[str, str]:
    """Return one of the signatures of ``body``."""
    return {"keyid": key.keyid, "sig": text(key.sign(message(body, context)))}


def entries(body: Body, keys: Iterable[SigningKey], context: bytes) -> list[dict[str, str]]:
    """Return the signatures of ``body`` by some keys."""
    return [entry(body, key, context) for key in keys]


def spelled(body: Body) -> bytes:
    """Return a document in one spelling of many: names in their order, with spaces."""
    return json.dumps(body, ensure_ascii=False).encode()


def signed(body: Body, *keys: SigningKey) -> bytes:
    """Return the file of a manifest, signed by the publisher unless others are named."""
    return spelled({**body, "signatures": entries(body, keys or (PUBLISHER,), MANIFEST)})


def signed_root(body: Body, *keys: SigningKey) -> bytes:
    """Return the file of a root, signed by its keeper unless others are named."""
    return spelled({**body, "signatures": entries(body, keys or (ROOT_KEY,), ROOT)})


ROOT_1: Final = signed_root(root())
"""The publisher publishes `stable`."""
ROOT_2: Final = signed_root(root(2, channels={"stable": channel(NEW_PUBLISHER)}))
"""Another one does, as the publisher's key was stolen."""
