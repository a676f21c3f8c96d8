"""A sample manifest with its artifacts, and the keys that sign it.

The keys are constants of the drill. Nothing outside it and the tests trusts them.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from phase_boot.content.digest import Digest
from phase_boot.drill.sample_kernel import bzimage
from phase_boot.handoff.cpio import Entry, archive
from phase_boot.trust.keys import SigningKey
from phase_boot.trust.manifest import signed_bytes

PUBLISHER: Final = SigningKey(b"\x01" * 32)
UNTRUSTED_KEY: Final = SigningKey(b"\xee" * 32)

KERNEL: Final = bzimage(b"kernel")
INITRAMFS: Final = archive([Entry.file("init", b"initramfs", mode=0o755)])
ROOTFS: Final = b"hsqs: " + b"rootfs" * 999

NOW: Final = datetime(2025, 11, 20, tzinfo=UTC)


def document(**changes: object) -> dict[str, object]:
    """Return a good manifest without signatures, with some fields changed; None leaves one out."""
    files = {"kernel": KERNEL, "initramfs": INITRAMFS, "rootfs": ROOTFS}
    fields: dict[str, object] = {
        "version": "2025.11.12",
        "channel": "stable",
        "arch": "amd64",
        "artifacts": {name: str(Digest.of(data)) for name, data in files.items()},
        "sizes": {name: len(data) for name, data in files.items()},
        "issued": "2025-11-12T08:00:00Z",
        "expires": "2025-12-12T08:00:00Z",
        "cmdline": "quiet",
        "mirrors": ["https://mirror.example/stable/"],
    }
    fields.update(changes)
    return {name: value for name, value in fields.items() if value is not None}


def signature(body: Mapping[str, object], key: SigningKey = PUBLISHER) -> dict[str, str]:
    """Return one entry of ``signatures``."""
    sig = key.sign(signed_bytes(body))
    return {"keyid": key.keyid, "sig": base64.b64encode(sig).decode("ascii")}


def signed(body: Mapping[str, object], *keys: SigningKey) -> bytes:
    """Return the manifest file of ``body``, signed by PUBLISHER unless other keys are given."""
    signatures = [signature(body, key) for key in keys or (PUBLISHER,)]
    return encoded({**body, "signatures": signatures})


def encoded(whole: Mapping[str, object]) -> bytes:
    """Return a manifest as its file holds it."""
    return json.dumps(whole, indent=2, ensure_ascii=False).encode("utf-8")
