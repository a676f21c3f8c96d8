"""The chain of roots: the trusted root of the image, and every newer one that follows from it.

Each root is signed by a threshold of the keys of the one before (TUF specification, section 5.3).
So a stick that was built with root 1 follows root 5 without being built again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from phase_boot.content.digest import Digest
from phase_boot.trust.refusals import ChannelUnknown, DelegationExpired, NoRootToFollow
from phase_boot.trust.root import Root, verify_next
from phase_boot.trust.signatures import Trust
from phase_boot.trust.strict_json import canonical

MAX_ROOTS: Final = 256
"""Largest number of roots that one boot follows beyond the one of the image."""


@dataclass(frozen=True, slots=True)
class Chain:
    """The root or the keys of the policy, and the roots that follow, oldest first.

    A chain of fixed keys never grows. A chain only gets longer: `extended` returns the longer one.
    """

    trusted: Root | Trust
    later: tuple[Root, ...] = ()

    @property
    def newest(self) -> Root | Trust:
        """The root, or the fixed keys, that count now."""
        return self.later[-1] if self.later else self.trusted

    @property
    def version(self) -> int | None:
        """The version of the newest root; None for fixed keys."""
        return self.newest.version if isinstance(self.newest, Root) else None

    @property
    def next_version(self) -> int | None:
        """The version of the root to request; None if no root would be followed."""
        if self.version is None or len(self.later) >= MAX_ROOTS:
            return None
        return self.version + 1

    @property
    def announcers(self) -> tuple[str, ...]:
        """The announcing keys of the newest root; empty for fixed keys.

        They have no expiry date: a record that they sign names places and makes nothing trusted.
        """
        return self.newest.announcers if isinstance(self.newest, Root) else ()

    @property
    def identity(self) -> Digest:
        """Digest of the newest root, which binds the rollback state on Cache to it."""
        return _identity(self.newest)

    @property
    def identities(self) -> frozenset[Digest]:
        """Digests of all roots of this chain."""
        return frozenset(map(_identity, (self.trusted, *self.later)))

    def extended(self, raw: bytes) -> Chain:
        """Return the chain with the next root, ``raw``, at its end.

        Raises:
            Refusal: the root does not follow from the newest one.
        """
        if not isinstance(self.newest, Root):
            raise NoRootToFollow(reason="the policy names keys and no root")
        if self.next_version is None:
            raise NoRootToFollow(reason=f"{MAX_ROOTS} came after the one in the image")
        return replace(self, later=(*self.later, verify_next(self.newest, raw)))

    def trust(self, channel: str, now: datetime) -> Trust:
        """Return the keys and the threshold that count for ``channel`` at ``now``.

        Raises:
            ChannelUnknown: the newest root has no such channel.
            DelegationExpired: its delegation of the channel has expired.
        """
        newest = self.newest
        if isinstance(newest, Trust):
            return newest
        found = newest.channels.get(channel)
        if found is None:
            raise ChannelUnknown(version=newest.version, channel=channel)
        if now >= found.expires:
            raise DelegationExpired(
                version=newest.version, channel=channel, expires=found.expires, now=now
            )
        return found.trust

    def ever_trusted(self, channel: str) -> tuple[Trust, ...]:
        """Return the keys of all roots for ``channel``, newest first, whether expired or not."""
        found = (_publishers(root, channel) for root in (*reversed(self.later), self.trusted))
        return tuple(trust for trust in found if trust is not None)

    def trusts(self, channel: str) -> Trust | None:
        """Return the keys of the newest root for ``channel``, whether expired or not."""
        return _publishers(self.newest, channel)


def _publishers(root: Root | Trust, channel: str) -> Trust | None:
    if isinstance(root, Trust):
        return root
    found = root.channels.get(channel)
    return found.trust if found else None


def _identity(root: Root | Trust) -> Digest:
    if isinstance(root, Root):
        return root.digest
    return Digest.of(canonical({"keys": sorted(root.keys), "threshold": root.threshold}))
