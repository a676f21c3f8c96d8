"""Documents of new roots: changes to keys and channels.

Refuses roots that lock a publisher out, or in which a key both announces and signs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from phase_boot.publish.dates import rfc3339
from phase_boot.publish.errors import PublishError
from phase_boot.trust.signatures import SIGNATURES

FIRST: Final = 1
_ANNOUNCERS: Final = "announcers"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyChange:
    """Keys that a list gains and loses."""

    add: Sequence[str] = ()
    remove: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Change(KeyChange):
    """Changes to a list of keys and to how many of them must sign."""

    threshold: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelChange:
    """Changes to the publishers of a channel."""

    name: str
    keys: Change
    expires: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RootChange:
    """Changes from one root to the next."""

    role: Change
    channel: ChannelChange | None
    removed_channels: Sequence[str]
    announcers: KeyChange


def first_root(
    role: Change, channel: ChannelChange, announcers: Sequence[str], now: datetime
) -> dict[str, object]:
    """Return the document of root 1.

    Raises:
        PublishError: every machine would refuse it, or an announcing key signs something else.
    """
    root = _apply({"keys": [], "threshold": 1}, role, "the root")
    channels = {channel.name: _channel(None, channel, now)}
    body = {"version": FIRST, "root": root, "channels": channels}
    return _announced(body, KeyChange(add=announcers))


def next_root(previous: Mapping[str, Any], change: RootChange, now: datetime) -> dict[str, object]:
    """Return the document of the root after ``previous``.

    Raises:
        PublishError: every machine would refuse it, an announcing key signs something else, or
            nothing is changed.
    """
    channels = dict(previous["channels"])
    channel = change.channel
    if channel is not None:
        channels[channel.name] = _channel(channels.get(channel.name), channel, now)
    for name in change.removed_channels:
        if name not in channels:
            raise PublishError(f"The root has no channel {name} to remove: see `root show`.")
        del channels[name]
    if not channels:
        raise PublishError("A root without a channel would be refused by every machine: keep one.")
    body = {name: value for name, value in previous.items() if name != SIGNATURES}
    role = _apply(previous["root"], change.role, "the root")
    changed = _announced({**body, "root": role, "channels": channels}, change.announcers)
    if changed == body:
        raise PublishError("This root would equal the newest one: name a change.")
    return {**changed, "version": previous["version"] + 1}


def _announced(body: Mapping[str, Any], change: KeyChange) -> dict[str, object]:
    """Return ``body`` with other announcing keys; a root without any has no such field."""
    keys = _changed(body.get(_ANNOUNCERS, ()), change, "the announcements")
    _check_only_announce(keys, body)
    if not change.add and not change.remove:
        return dict(body)
    rest = {name: value for name, value in body.items() if name != _ANNOUNCERS}
    return {**rest, _ANNOUNCERS: keys} if keys else rest


def _check_only_announce(keys: Sequence[str], body: Mapping[str, Any]) -> None:
    """Refuse announcing keys that also sign roots or releases: they are online, those are not."""
    roles = {"the root": body["root"]} | {
        f"channel {name}": channel for name, channel in body["channels"].items()
    }
    for whose, role in roles.items():
        for keyid in keys:
            if keyid in role["keys"]:
                raise PublishError(
                    f"{keyid} is a key of {whose}, which belongs offline, and an announcing key is "
                    "online: use two keys."
                )


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
    keys = _changed(table["keys"], change, whose)
    if not keys:
        raise PublishError(f"This leaves {whose} without a key, forever: add one as well.")
    threshold = table["threshold"] if change.threshold is None else change.threshold
    if not 1 <= threshold <= len(keys):
        raise PublishError(
            f"{len(keys)} key(s) of {whose} can never make {threshold} signatures: "
            f"choose a threshold from 1 to {len(keys)}."
        )
    return {**table, "keys": sorted(keys), "threshold": threshold}


def _changed(old: Sequence[str], change: KeyChange, whose: str) -> list[str]:
    keys = list(old)
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
    return keys
