"""Sample roots of trust, and the keys that sign them."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from typing import Any, Final

from phase_boot.drill.sample_manifest import PUBLISHER, encoded
from phase_boot.drill.sample_record import ANNOUNCER
from phase_boot.trust.keys import SigningKey
from phase_boot.trust.root import signed_bytes

ROOT_KEY: Final = SigningKey(b"\x11" * 32)
NEW_PUBLISHER: Final = SigningKey(b"\x21" * 32)


def role(*keys: SigningKey, threshold: int = 1, **more: object) -> dict[str, object]:
    """Return keys and a threshold in the form of a root document."""
    return {"keys": [key.keyid for key in keys], "threshold": threshold, **more}


def channel(
    *keys: SigningKey, threshold: int = 1, expires: str = "2026-11-01T00:00:00Z"
) -> dict[str, object]:
    """Return the role of a channel's publishers."""
    return role(*keys or (PUBLISHER,), threshold=threshold, expires=expires)


def root_document(version: int = 1, **changes: Any) -> dict[str, object]:
    """Return a good root without signatures, with some fields changed; None leaves one out."""
    fields: dict[str, object] = {
        "version": version,
        "root": role(ROOT_KEY),
        "channels": {"stable": channel()},
    }
    fields.update(changes)
    return {name: value for name, value in fields.items() if value is not None}


def signatures_of(body: Mapping[str, object], keys: Iterable[SigningKey]) -> list[dict[str, str]]:
    """Return the signatures of some keys over a root."""
    message = signed_bytes(body)
    return [
        {"keyid": key.keyid, "sig": base64.b64encode(key.sign(message)).decode("ascii")}
        for key in keys
    ]


def signed_root(body: Mapping[str, object], *keys: SigningKey) -> bytes:
    """Return the file of a root, signed by ROOT_KEY unless other keys are given."""
    return encoded({**body, "signatures": signatures_of(body, keys or (ROOT_KEY,))})


ROOT_1: Final = signed_root(root_document())
"""The publisher publishes `stable`."""
ROOT_WITH_ANNOUNCER: Final = signed_root(root_document(announcers=[ANNOUNCER.keyid]))
"""The publisher publishes `stable`, and ANNOUNCER announces where."""
ROOT_2: Final = signed_root(root_document(2, channels={"stable": channel(NEW_PUBLISHER)}))
"""NEW_PUBLISHER replaces the publisher of `stable`."""
