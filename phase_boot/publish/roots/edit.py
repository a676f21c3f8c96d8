"""Documents of new roots: changes to keys and channels; refuses those that lock a publisher out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from phase_boot.publish.dates import rfc3339
from phase_boot.publish.errors import PublishError
from phase_boot.trust.signatures import SIGNATURES

FIRST: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Changes to a list of keys."""

    add: Sequence[str] = ()
    remove: Sequence[str] = ()
    threshold: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelChange:
    """Changes to the publishers of a channel."""

    name: str
    keys: Change
    expires: datetime | None = None


def first_root(role: Change, channel: ChannelChange, now: datetime) -> dict[str, object]:
    """Return the document of root 1.

    Raises:
        PublishError: every machine would refuse it.
    """
    root = _apply({"keys": [], "threshold": 1}, role, "the root")
    return {
        "version": FIRST,
        "root": root,
        "channels": {channel.name: _channel(None, channel, now)},
    }


def next_root(
    previous: Mapping[str, Any],
    role: Change,
    channel: ChannelChange | None,
    removed: Sequence[str],
    now: datetime,
) -> dict[str, object]:
    """Return the document of the root after ``previous``, without the channels ``removed``.

    Raises:
        PublishError: every machine would refuse it, or nothing is changed.
    """
    channels = dict(previous["channels"])
    if channel is not None:
        channels[channel.name] = _channel(channels.get(channel.name), channel, now)
    for name in removed:
        if name not in channels:
            raise PublishError(f"The root has no channel {name} to remove: see `root show`.")
        del channels[name]
    if not channels:
        raise PublishError("A root without a channel would be refused by every machine: keep one.")
    body = {name: value for name, value in previous.items() if name != SIGNATURES}
    changed = {**body, "root": _apply(previous["root"], role, "the root"), "channels": channels}
    if changed == body:
        raise PublishError("This root would equal the newest one: name a change.")
    return {**changed, "version": previous["version"] + 1}


def _channel(
    table: Mapping[str, Any] | None, change: ChannelChange, now: datetime
) -> dict[str, object]:
    whose = f"channel {change.name}"
    if table is None and change.expires is None:
        raise PublishError(f"The publishers of {whose} need an expiry date: add --expires.")
    if change.expires is not None and change.expires <= now:
        raise PublishError(
            f"{rfc3339(change.expires)} is past, so no key could publish {whose}: "
            "choose a later --expires."
        )
    changed = _apply(table or {"keys": [], "threshold": 1}, change.keys, whose)
    if change.expires is not None:
        changed["expires"] = rfc3339(change.expires)
    return changed


def _apply(table: Mapping[str, Any], change: Change, whose: str) -> dict[str, object]:
    keys = list(table["keys"])
    for keyid in change.remove:
        if keyid not in keys:
            raise PublishError(f"{keyid} is not a key of {whose}, so it cannot be removed.")
        keys.remove(keyid)
    for keyid in change.add:
        if keyid in keys:
            raise PublishError(
                f"{keyid} is named twice for {whose}, but counts once: name it once."
            )
        keys.append(keyid)
    if not keys:
        raise PublishError(f"This leaves {whose} without a key, forever: add one as well.")
    threshold = table["threshold"] if change.threshold is None else change.threshold
    if not 1 <= threshold <= len(keys):
        raise PublishError(
            f"{len(keys)} key(s) of {whose} can never make {threshold} signatures: "
            f"choose a threshold from 1 to {len(keys)}."
        )
    return {**table, "keys": sorted(keys), "threshold": threshold}
