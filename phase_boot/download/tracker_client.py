"""Tracker client: announces the pieces of this machine and learns of peers.

Machines that boot at the same time download the same artifacts. Each announces to its LAN provider,
which is a tracker too, what it has, and the reply assigns it pieces and names peers (see
docs/adr/0010-peer-sharing.md). So the provider sends each piece about once, and the peers exchange
the rest.

No failure of this module fails a boot. Replies are untrusted and every wait is bounded. After a
fault, which is reported, the provider is used as an ordinary mirror.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Final

from phase_boot.content.cid import Cid
from phase_boot.content.pieces import MAX_ANNOUNCED, MAX_FAILED, PieceMap
from phase_boot.download.announce_reply import parse_artifacts
from phase_boot.download.context import DownloadContext
from phase_boot.download.peer_session import PeerSession
from phase_boot.download.swarm import Swarm
from phase_boot.journal.content_events import PeerSharingFailed, TrackerJoined
from phase_boot.journal.event import Event
from phase_boot.ports.clock import Clock
from phase_boot.ports.fetcher import FetchFailed
from phase_boot.ports.peer_sharing import PeerSharing, SharedArtifact
from phase_boot.store.chunk_writer import ChunkWriter
from phase_boot.store.layout import ANNOUNCE
from phase_boot.url import below
from policies.model import Reach

ANNOUNCE_SECONDS: Final = 1.0
"""Interval between announcements while chunks arrive."""
IDLE_ANNOUNCE_SECONDS: Final = 3.0
"""Interval while none arrive; a tracker forgets a machine that stays silent for longer."""
EARLY_ANNOUNCE_SECONDS: Final = 0.1
"""Interval of the check whether to announce early, because most assigned pieces are present."""
REPLY_SECONDS: Final = 5.0
"""Time for a reply; after it the provider is used as an ordinary mirror."""
LIMIT_GRACE_SECONDS: Final = 0.4
"""Time for the first reply; after it every chunk may be requested until the reply comes."""
STOP_SECONDS: Final = 0.5
"""Time for the last announcements, `stopped`."""
MAX_REPLY: Final = 96 * 1024
"""Bytes of one reply."""
PLAIN_HTTP: Final = "http://"
"""Only these providers are trackers: an HTTPS mirror is on the Internet and sees no LAN address."""


class TrackerClient:
    """Announces to every LAN provider in use, for all artifacts of a run of downloads.

    A tracker or peer that misleads costs time: where no chunk arrives for some seconds, every
    chunk may be requested from the provider itself.
    """

    def __init__(
        self,
        peer_sharing: PeerSharing,
        *,
        clock: Clock,
        reach: Reach,
        emit: Callable[[Event], None],
    ) -> None:
        """Start without a session. ``reach`` bounds how far away a tracker may be."""
        self._peer_sharing = peer_sharing
        self._clock = clock
        self._reach = reach
        self._emit = emit
        self._sessions: list[PeerSession] = []
        self._loops: dict[str, asyncio.Task[None]] = {}
        self._joined: set[str] = set()
        self._reported: dict[str, set[str]] = {}
        """Peers that were reported as failed, by tracker."""
        self._wakeup = asyncio.Event()
        self._last_bytes, self._last_progress = 0, float("-inf")

    @asynccontextmanager
    async def join(
        self, context: DownloadContext, root: Cid, writer: ChunkWriter, swarm: Swarm
    ) -> AsyncIterator[PeerSession | None]:
        """Share an artifact with peers while it is downloaded and after; None if that fails.

        Announcements go to the providers passed to `PeerSession.limit_to_assigned`.
        """
        session = await self._start_session(context, root, writer, swarm)
        if session is None:
            yield None
            return
        self._sessions = [*self._sessions, session][-MAX_ANNOUNCED:]
        try:
            yield session
        finally:
            if not writer.complete:
                self._sessions = [each for each in self._sessions if each is not session]
            try:
                session.finish()
            except Exception as fault:  # noqa: BLE001 - sharing must not cost a boot
                self._emit_failure(fault)

    async def open(self) -> None:
        """Withdraw what an earlier run shared: the store may have to evict it."""
        try:
            async with asyncio.timeout(REPLY_SECONDS):
                await self._peer_sharing.clear()
        except Exception as fault:  # noqa: BLE001 - sharing must not cost a boot
            self._emit_failure(fault)

    async def close(self) -> None:
        """Announce to all trackers that this machine stops.

        A tracker that knows names this machine to no peer, which would wait for its answer. Whole
        artifacts stay shared until the process that serves them ends.
        """
        loops = tuple(self._loops.values())
        for loop in loops:
            loop.cancel()
        await asyncio.gather(*loops, return_exceptions=True)
        stops = [asyncio.create_task(self._announce_stop(base)) for base in self._joined]
        try:
            if stops:
                await asyncio.wait(stops, timeout=STOP_SECONDS)
        finally:
            for stop in stops:
                stop.cancel()
            await asyncio.gather(*stops, return_exceptions=True)

    async def _start_session(
        self, context: DownloadContext, root: Cid, writer: ChunkWriter, swarm: Swarm
    ) -> PeerSession | None:
        pieces = PieceMap(writer.chunks)
        share = SharedArtifact(writer.artifact.digest, root, writer.artifact.size)
        try:
            async with asyncio.timeout(REPLY_SECONDS):
                shared = await self._peer_sharing.share(
                    share, writer.fileno(), pieces.piece_offsets()
                )
        except Exception as fault:  # noqa: BLE001 - sharing must not cost a boot
            self._emit_failure(fault)
            return None
        return PeerSession(context, root, writer, swarm, pieces, shared, self._track)

    def _track(self, base: str) -> bool:
        """Announce to a provider from now on; return whether it may be a tracker."""
        if not base.startswith(PLAIN_HTTP):
            return False
        if base not in self._loops:
            self._loops[base] = asyncio.create_task(self._announce_loop(base))
        self._last_progress = self._clock.monotonic()
        self._wakeup.set()
        return not self._loops[base].done()

    async def _announce_loop(self, base: str) -> None:
        """Announce to one provider again and again, until it turns out to be no tracker."""
        joined = False
        try:
            while True:
                replied = await self._announce(base)
                if replied and not joined:
                    joined = True
                    self._joined.add(base)
                    self._emit(TrackerJoined(source=base))
                await self._wait_until_due(base)
        except FetchFailed:
            pass
        except Exception as fault:  # noqa: BLE001 - sharing must not cost a boot
            self._emit_failure(fault, base)
        finally:
            for session in self._sessions:
                session.lift_limit(base)

    async def _announce(self, base: str) -> bool:
        """Announce to a provider once and apply its reply; return whether it replied.

        Raises:
            FetchFailed: the provider is no tracker.
        """
        sessions = tuple(self._sessions)
        failed = self._reported[base] = self._failed()
        announcement = {
            "port": self._peer_sharing.port,
            "roots": {str(session.root): session.announcement() for session in sessions},
            "failed": sorted(failed)[:MAX_FAILED],
        }
        grace = asyncio.create_task(self._lift_limit_after_grace(base))
        try:
            async with asyncio.timeout(REPLY_SECONDS):
                raw = await self._post(base, announcement)
            roots = parse_artifacts(raw)
        except TimeoutError:
            pass
        except FetchFailed as failure:
            if not failure.retryable:
                raise
        except ValueError as error:
            raise FetchFailed(str(error), retryable=False) from error
        else:
            for session in sessions:
                session.apply_reply(base, roots.get(str(session.root)))
            return True
        finally:
            grace.cancel()
        for session in sessions:
            session.lift_limit(base)
        return False

    async def _post(self, base: str, announcement: Mapping[str, object]) -> bytes:
        return await self._peer_sharing.post(
            below(base, ANNOUNCE),
            json.dumps(announcement).encode(),
            limit=MAX_REPLY,
            reach=self._reach,
        )

    async def _lift_limit_after_grace(self, base: str) -> None:
        """Lift the limit of a provider whose first reply takes longer than the grace time."""
        await asyncio.sleep(LIMIT_GRACE_SECONDS)
        for session in self._sessions:
            session.lift_limit_until_reply(base)

    async def _announce_stop(self, base: str) -> None:
        await self._post(base, {"port": self._peer_sharing.port, "roots": {}, "event": "stopped"})

    def _failed(self) -> set[str]:
        """Return the peers that do not answer, for this artifact or an earlier one."""
        before = set[str]().union(*self._reported.values())
        still = {
            url for url in before if any(session.is_suspect(url) for session in self._sessions)
        }
        return still.union(*(session.failed_peers() for session in self._sessions))

    async def _wait_until_due(self, base: str) -> None:
        """Wait until the next announcement is due, which may be early.

        It is due early for a new artifact, a newly failed peer, or few assigned pieces left. While
        no chunk arrives the two latter are checked once in `IDLE_ANNOUNCE_SECONDS`.
        """
        began = self._clock.monotonic()
        while not any(session.awaits_first_reply(base) for session in self._sessions):
            self._wakeup.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(
                    IDLE_ANNOUNCE_SECONDS if self._is_idle() else EARLY_ANNOUNCE_SECONDS
                ):
                    await self._wakeup.wait()
            waited = self._clock.monotonic() - began
            due = waited >= (IDLE_ANNOUNCE_SECONDS if self._is_idle() else ANNOUNCE_SECONDS)
            if due or any(session.wants_more(base) for session in self._sessions):
                return
            if self._failed() - self._reported.get(base, set()):
                return

    def _is_idle(self) -> bool:
        """Return whether no chunk has arrived for `IDLE_ANNOUNCE_SECONDS`."""
        now = self._clock.monotonic()
        present = sum(session.bytes_present for session in self._sessions)
        if present != self._last_bytes:
            self._last_bytes, self._last_progress = present, now
        return now - self._last_progress > IDLE_ANNOUNCE_SECONDS

    def _emit_failure(self, fault: Exception, base: str = "") -> None:
        match fault:
            case FetchFailed():
                reason = str(fault)
            case TimeoutError():
                reason = f"no answer for {REPLY_SECONDS:g} seconds"
            case _:
                reason = f"{type(fault).__name__}: {fault}"
        self._emit(PeerSharingFailed(source=base, reason=reason))
