"""The update workflow: from the trusted root to a manifest that may be booted.

The detailed client workflow of TUF (specification section 5), reduced to the two roles that exist
here: root and manifest. Roots are followed one version at a time, until a source has no newer one.
Only then is the manifest verified, by the keys that the newest root names, so that a revoked key
counts no longer as soon as its revocation is published.

The rules perform no I/O. The caller passes in an `UpdateIO`, which reads the documents of one
source and writes down what was verified. Verify asks several sources at the same time with one
`Updater`: what any of them proves counts for all, so the state is read anew after each await.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Protocol

from phase_boot.trust.chain import Chain
from phase_boot.trust.refusals import Expired
from phase_boot.trust.rollback import RollbackState
from phase_boot.trust.verify import (
    BootRequirements,
    SignedManifest,
    Verified,
    authenticate,
    verify,
)


class UpdateIO(Protocol):
    """Reads the documents of one source, and writes down what was verified.

    A method that raises ends the update of this source; what was verified before it still counts.
    """

    async def root(self, version: int) -> bytes | None:
        """Return root ``version``, or None if the source has none.

        A source that fails temporarily must raise: "none" ends the walk.
        """

    async def manifest(self) -> bytes:
        """Return the manifest."""

    async def keep_root(self, version: int, raw: bytes) -> None:
        """Write down a root that was verified."""

    async def keep_state(self) -> None:
        """Write down the rollback state, which changed or was confirmed."""


class Updater:
    """The roots that are trusted and the versions that were seen, and how both advance.

    Attributes:
        chain: the trusted root and those that followed it; it only gets longer.
        seen: the highest manifests that counted so far: the rollback floor.
    """

    def __init__(self, chain: Chain, seen: RollbackState | None = None) -> None:
        self.chain = chain
        self.seen = RollbackState() if seen is None else seen

    async def update(self, io: UpdateIO, requirements: BootRequirements, now: datetime) -> Verified:
        """Follow the roots of a source, then return its manifest if it may be booted.

        The manifest becomes the rollback floor, also where it is refused because it expired: it
        was published, so nothing below it is current.

        Raises:
            Refusal: a root or the manifest is refused.
        """
        await self.follow_roots(io)
        raw = await io.manifest()
        try:
            verified = self.verify(raw, requirements, now)
        except Expired:
            trust = self.chain.trust(requirements.channel, now)
            await self._remember(authenticate(raw, trust), io)
            raise
        await self._remember(verified.found, io)
        return verified

    async def follow_roots(self, io: UpdateIO) -> None:
        """Ask a source for the next root until it has none.

        Raises:
            Refusal: what it has does not follow from the newest root.
        """
        while (version := self.chain.next_version) is not None:
            raw = await io.root(version)
            if raw is None:
                return
            if version != self.chain.next_version:
                # Another source had this root first.
                continue
            self.chain = self.chain.extended(raw)
            self.seen = self.seen.under(self.chain)
            await io.keep_root(version, raw)

    def verify(self, raw: bytes, requirements: BootRequirements, now: datetime) -> Verified:
        """Return the manifest if it may be booted by what is known now.

        ``requirements.floor`` is replaced by the floor of the rollback state.

        Raises:
            Refusal: the first check that fails.
        """
        floor = self.seen.floor(requirements.channel, requirements.arch)
        trust = self.chain.trust(requirements.channel, now)
        return verify(raw, trust=trust, requirements=replace(requirements, floor=floor), now=now)

    async def _remember(self, found: SignedManifest, io: UpdateIO) -> None:
        self.seen = self.seen.including(found)
        await io.keep_state()
