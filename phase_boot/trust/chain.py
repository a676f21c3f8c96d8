"""Whom this machine trusts now: the root in its image, and every newer one that follows from it."""

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
"""Roots that one boot follows beyond the image's: nobody can make it walk for ever."""


@dataclass(frozen=True, slots=True)
class Chain:
    """What the policy trusts, and the roots that follow from it, oldest first.

    A policy that names keys instead of a root is a chain that never grows. A chain only ever gets
    longer: `extended` is the only way to another one.
    """

    trusted: Root | Trust
    later: tuple[Root, ...] = ()

    @property
    def newest(self) -> Root | Trust:
        """What counts now."""
        return self.later[-1] if self.later else self.trusted

    @property
    def version(self) -> int | None:
        """The version of the newest root, None where the policy names keys."""
        return self.newest.version if isinstance(self.newest, Root) else None

    @property
    def next_version(self) -> int | None:
        """The version of the root to look for, None if none would be followed."""
        if self.version is None or len(self.later) >= MAX_ROOTS:
            return None
        return self.version + 1

    @property
    def identity(self) -> Digest:
        """The digest of what counts now, by which state on Cache is bound to it."""
        return _identity(self.newest)

    @property
    def identities(self) -> frozenset[Digest]:
        """The digests of all that ever counted in this chain."""
        return frozenset(map(_identity, (self.trusted, *self.later)))

    def extended(self, raw: bytes) -> Chain:
        """Return the chain with the next root, which is in ``raw``.

        Raises:
            Refusal: it does not follow from the newest one.
        """
        if not isinstance(self.newest, Root):
            raise NoRootToFollow(reason="the policy names keys and no root")
        if self.next_version is None:
            raise NoRootToFollow(reason=f"{MAX_ROOTS} came after the one in the image")
        return replace(self, later=(*self.later, verify_next(self.newest, raw)))

    def trust(self, channel: str, now: datetime) -> Trust:
        """Return whose signatures count for ``channel`` at ``now``.

        Raises:
            ChannelUnknown: the newest root names nobody.
            DelegationExpired: what it says was only true until before ``now``.
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
        """Return whose signatures count for ``channel`` or once did, dates aside, newest first."""
        found = (_publishers(root, channel) for root in (*reversed(self.later), self.trusted))
        return tuple(trust for trust in found if trust is not None)

    def trusts(self, channel: str) -> Trust | None:
        """Return whose signatures count for ``channel`` under the newest root, dates aside."""
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
