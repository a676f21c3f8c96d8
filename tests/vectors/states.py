"""Vectors of what a stick wrote down about the versions it saw."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any, Final

from tests.vectors.case import (
    NEW_PUBLISHER,
    PUBLISHER,
    ROOT,
    ROOT_1,
    ROOT_2,
    UNTRUSTED_KEY,
    Case,
    by_keys,
    by_roots,
    canonical,
    channel,
    manifest,
    message,
    root,
    signed,
    spelled,
)

BOUND: Final = f"sha256:{hashlib.sha256(message(root(), ROOT)).hexdigest()}"
"""The first root's name: the digest of the bytes that its keeper signed."""
KEYS: Final = {"keys": [PUBLISHER.keyid], "threshold": 1}
HERE: Final = {"arch": "amd64", "channel": "stable"}
SECOND_ROOT: Final = root(2, channels={"stable": channel(NEW_PUBLISHER)})


def state(*seen: bytes, bound: str = BOUND, **changes: object) -> dict[str, object]:
    """Return a state."""
    fields = {"schema": "phase-boot-state-v1", "root": bound, "seen": [*map(json.loads, seen)]}
    return fields | changes


def case(name: str, content: object, floor: str | None, verdict: str = "ok", **more: Any) -> Case:
    """Return a vector of a state: an object, or bytes that are none."""
    raw = content if isinstance(content, bytes) else canonical(content)
    fields = {"trusted": by_roots(ROOT_1), "wanted": HERE, "floor": floor, **more}
    return Case(name=f"state: {name}", kind="state", documents=[raw], verdict=verdict, **fields)


def believed() -> Iterator[Case]:
    """States that count."""
    seen = signed(manifest())
    yield case("one version", state(seen), "2025.11.12")
    yield case("in another spelling", spelled(state(seen)), "2025.11.12")
    yield case("nothing seen yet", state(), None)
    yield case("an expired one counts", state(seen), "2025.11.12", now="2030-01-01T00:00:00Z")
    yield case("the higher of two", state(seen, signed(manifest(version="2025.12"))), "2025.12")
    arm = signed(manifest(arch="arm64", version="2026"))
    yield case("another architecture has its own", state(seen, arm), "2025.11.12")
    yield case("another channel only", state(seen), None, wanted={**HERE, "channel": "beta"})
    yield case(
        "bound to an older root",
        state(signed(manifest(), NEW_PUBLISHER)),
        "2025.11.12",
        trusted=by_roots(ROOT_1, ROOT_2),
    )
    bound = f"sha256:{hashlib.sha256(message(SECOND_ROOT, ROOT)).hexdigest()}"
    forward = signed(manifest(version="9999.1"))
    yield case(
        "a fast-forward by a key that was replaced since",
        state(forward, bound=bound),
        None,
        trusted=by_roots(ROOT_1, ROOT_2),
    )
    by_policy = f"sha256:{hashlib.sha256(canonical(KEYS)).hexdigest()}"
    yield case(
        "bound to a policy's keys",
        state(seen, bound=by_policy),
        "2025.11.12",
        trusted=by_keys(PUBLISHER),
    )


def doubted() -> Iterator[Case]:
    """States that count in part or not at all."""
    seen = signed(manifest())
    unreadable, tampered = "state.unreadable", "state.tampered"
    yield case("empty", b"", None, unreadable)
    yield case("torn", canonical(state(seen))[:-40], None, unreadable)
    yield case("another format", state(seen, schema="phase-boot-state-v2"), None, unreadable)
    yield case("no root", state(seen, bound="none"), None, unreadable)
    yield case("nine entries", state(*[seen] * 9), None, unreadable)
    yield case("an entry that is no object", state(seen=[7]), None, unreadable)
    yield case(
        "a name twice", b'{"seen":[],' + canonical(state(seen))[1:], None, "state.unreadable"
    )
    raised = seen.replace(b"2025.11.12", b"2099.11.12")
    yield case("a version raised", state(raised), None, tampered)
    yield case("a stranger's manifest", state(signed(manifest(), UNTRUSTED_KEY)), None, tampered)
    yield case("one good, one changed", state(seen, raised), "2025.11.12", tampered)
    yield case("an unsigned manifest", state(spelled(manifest())), None, tampered)
    yield case(
        "of another stick",
        state(signed(manifest(), UNTRUSTED_KEY), bound=f"sha256:{'0' * 64}"),
        None,
        "state.foreign",
    )
    yield case(
        "of another stick, with a version of ours",
        state(seen, bound=f"sha256:{'0' * 64}"),
        "2025.11.12",
        "state.foreign",
    )


def cases() -> Iterator[Case]:
    """All vectors of states."""
    yield from believed()
    yield from doubted()
