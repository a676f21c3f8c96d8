"""Vectors of roots: one that is trusted as given, one that follows, and chains of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from phase_boot.trust.keys import SigningKey
from tests.vectors.case import (
    MANIFEST,
    NEW_PUBLISHER,
    NEW_ROOT_KEY,
    PUBLISHER,
    ROOT,
    ROOT_1,
    ROOT_2,
    ROOT_KEY,
    THIRD_ROOT_KEY,
    UNTRUSTED_KEY,
    Case,
    by_keys,
    by_roots,
    channel,
    entries,
    entry,
    role,
    root,
    signed_root,
    spelled,
    text,
)
from tests.vectors.manifests import IDENTITY

ANNOUNCER: Final = SigningKey(b"\x41" * 32)
NEW_ANNOUNCER: Final = SigningKey(b"\x42" * 32)
FIVE: Final = [SigningKey(bytes([number]) * 32).keyid for number in range(0x41, 0x46)]
TWO_OF_THREE = role(ROOT_KEY, NEW_ROOT_KEY, THIRD_ROOT_KEY, threshold=2)
BY_THREE = signed_root(root(root=TWO_OF_THREE), ROOT_KEY, THIRD_ROOT_KEY)


def anchor(name: str, raw: bytes, verdict: str = "ok", **more: Any) -> Case:
    """Return a vector of a root that comes with the image."""
    name = f"root as given: {name}"
    return Case(name=name, kind="root", documents=[raw], trusted={}, verdict=verdict, **more)


def next_root(name: str, raw: bytes, verdict: str = "ok", *, before: bytes = ROOT_1) -> Case:
    """Return a vector of a root after another."""
    trusted = by_roots(before)
    name = f"next root: {name}"
    return Case(name=name, kind="root", documents=[raw], trusted=trusted, verdict=verdict)


def chain(name: str, *roots: bytes, verdict: str = "ok") -> Case:
    """Return a vector of roots after the first one."""
    trusted = by_roots(ROOT_1)
    name = f"chain: {name}"
    return Case(name=name, kind="roots-chain", documents=roots, trusted=trusted, verdict=verdict)


def anchors() -> Iterator[Case]:
    """Roots of an image."""
    yield anchor("signed by itself", ROOT_1)
    yield anchor("not the first", signed_root(root(7)))
    yield anchor("two of three", BY_THREE)
    yield anchor("unknown fields are signed", signed_root(root(motto=["la bora"])))
    yield anchor("no announcing key", signed_root(root(announcers=[])))
    yield anchor("four announcing keys", signed_root(root(announcers=FIVE[:4])))
    by_itself = "root.not-by-itself"
    yield anchor("signed by nobody", spelled(root()), by_itself)
    yield anchor("signed by a stranger", signed_root(root(), UNTRUSTED_KEY), by_itself)
    yield anchor("signed by its publisher", signed_root(root(), PUBLISHER), by_itself)
    yield anchor("one of two", signed_root(root(root=TWO_OF_THREE), ROOT_KEY), by_itself)
    yield anchor(
        "one key twice for two", signed_root(root(root=TWO_OF_THREE), ROOT_KEY, ROOT_KEY), by_itself
    )
    as_manifest = [entry(root(), ROOT_KEY, MANIFEST)]
    yield anchor(
        "signed in the context of a manifest",
        spelled({**root(), "signatures": as_manifest}),
        by_itself,
    )
    for name, changes in _unusable().items():
        yield anchor(name, signed_root(root(**changes)), "document.bad-field")
    yield anchor("a name twice", ROOT_1[:-1] + b', "version": 2}', "document.duplicate-key")


def _unusable() -> dict[str, dict[str, Any]]:
    short = PUBLISHER.keyid[:-1]
    return {
        "no version": {"version": None},
        "version 0": {"version": 0},
        "no keys": {"root": role()},
        "a threshold of 0": {"root": role(ROOT_KEY, threshold=0)},
        "a threshold that nobody meets": {"root": role(ROOT_KEY, threshold=2)},
        "a key named twice": {"root": role(ROOT_KEY, ROOT_KEY, threshold=2)},
        "a key id in upper case": {"root": {"keys": [ROOT_KEY.keyid.upper()], "threshold": 1}},
        "no channels": {"channels": {}},
        "a channel that cannot be": {"channels": {"../stable": channel()}},
        "a channel without a date": {"channels": {"stable": role(PUBLISHER)}},
        "a publisher's key id cut off": {
            "channels": {
                "stable": {"keys": [short], "threshold": 1, "expires": "2026-11-01T00:00:00Z"}
            }
        },
        "announcing keys that are no list": {"announcers": ANNOUNCER.keyid},
        "five announcing keys": {"announcers": FIVE},
        "an announcing key named twice": {"announcers": [ANNOUNCER.keyid, ANNOUNCER.keyid]},
        "an announcing key's id cut off": {"announcers": [ANNOUNCER.keyid[:-1]]},
    }


def successors() -> Iterator[Case]:
    """Roots after root 1."""
    handed_over = root(2, root=role(NEW_ROOT_KEY))
    weak = root(2, root={"keys": [IDENTITY], "threshold": 1})
    forged = {"keyid": IDENTITY, "sig": text(b"\x01" + bytes(63))}
    by_previous, by_itself, order = (
        "root.not-by-previous",
        "root.not-by-itself",
        "root.out-of-order",
    )
    yield next_root("another publisher", ROOT_2)
    yield next_root(
        "another keeper, signed by both", signed_root(handed_over, ROOT_KEY, NEW_ROOT_KEY)
    )
    yield next_root("by the old key only", signed_root(handed_over, ROOT_KEY), by_itself)
    yield next_root("by the new key only", signed_root(handed_over, NEW_ROOT_KEY), by_previous)
    yield next_root("by a stranger", signed_root(root(2), UNTRUSTED_KEY), by_previous)
    yield next_root("by a publisher", signed_root(root(2), PUBLISHER), by_previous)
    yield next_root(
        "two of the three before it", signed_root(root(2), NEW_ROOT_KEY, ROOT_KEY), before=BY_THREE
    )
    yield next_root("one of the two before it", signed_root(root(2)), by_previous, before=BY_THREE)
    yield next_root(
        "one key twice for two",
        signed_root(root(2), ROOT_KEY, ROOT_KEY),
        by_previous,
        before=BY_THREE,
    )
    yield next_root(
        "its own key is of small order",
        spelled({**weak, "signatures": [*entries(weak, [ROOT_KEY], ROOT), forged]}),
        by_itself,
    )
    yield next_root("one is skipped", signed_root(root(3)), order)
    yield next_root("the same again", ROOT_1, order)
    other = signed_root(root(channels={"stable": channel(UNTRUSTED_KEY)}))
    yield next_root("the same number with another publisher", other, order)
    yield next_root("back to an older one", ROOT_1, order, before=signed_root(root(2)))
    yield next_root("skipped and by a stranger", signed_root(root(3), UNTRUSTED_KEY), by_previous)
    yield Case(
        name="next root: the policy names keys",
        kind="root",
        documents=[ROOT_2],
        trusted=by_keys(PUBLISHER),
        verdict="root.not-followed",
    )


def announcers() -> Iterator[Case]:
    """Roots whose announcing keys differ from those of the root before."""
    before = signed_root(root(announcers=[ANNOUNCER.keyid]))
    by_previous = "root.not-by-previous"
    replaced = root(2, announcers=[NEW_ANNOUNCER.keyid])
    yield next_root("another announcing key", signed_root(replaced), before=before)
    yield next_root("no announcing key any more", signed_root(root(2)), before=before)
    by_announcer = signed_root(root(2), ANNOUNCER)
    yield next_root("by an announcing key", by_announcer, by_previous, before=before)
    of_another = entries(root(2), [ROOT_KEY], ROOT)
    yield next_root(
        "an announcing key added after it was signed",
        spelled({**replaced, "signatures": of_another}),
        by_previous,
        before=before,
    )


def chains() -> Iterator[Case]:
    """Several roots after root 1: the verdict is the first that is not ok."""
    handed_over = signed_root(root(3, root=role(NEW_ROOT_KEY)), ROOT_KEY, NEW_ROOT_KEY)
    fourth = root(4, channels={"stable": channel(NEW_PUBLISHER)}, root=role(NEW_ROOT_KEY))
    yield chain("keys are handed over", ROOT_2, handed_over, signed_root(fourth, NEW_ROOT_KEY))
    yield chain(
        "the old keeper signs once more",
        ROOT_2,
        handed_over,
        signed_root(root(4), ROOT_KEY),
        verdict="root.not-by-previous",
    )
    yield chain("one is missing", ROOT_2, signed_root(root(4)), verdict="root.out-of-order")
    yield chain("back to the first", ROOT_2, ROOT_1, verdict="root.out-of-order")


def cases() -> Iterator[Case]:
    """All vectors of roots."""
    yield from anchors()
    yield from successors()
    yield from announcers()
    yield from chains()
