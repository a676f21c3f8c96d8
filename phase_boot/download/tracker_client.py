"""Who fetches the same at the same time: met at a provider, handed what we hold, and asked too."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Final

from phase_boot.content.cid import Cid
from phase_boot.content.pieces import PieceMap
from phase_boot.download.announce_reply import parse_artifacts
from phase_boot.download.context import DownloadContext
from phase_boot.download.events import MeetingFailed, MeetingJoined
from phase_boot.download.peer_session import PeerSession
from phase_boot.download.swarm import Swarm
from phase_boot.machine.events import Event
from phase_boot.ports.clock import Clock
from phase_boot.ports.fetcher import FetchFailed
from phase_boot.ports.neighbours import Neighbours, Share
from phase_boot.store.chunk_writer import ChunkWriter
from phase_boot.store.layout import PEERS
from phase_boot.url import below
from policies.model import Reach

ANNOUNCE_SECONDS: Final = 1.0
"""So often a provider hears from us while chunks come."""
IDLE_ANNOUNCE_SECONDS: Final = 3.0
"""So often it does while none come, or it forgets us."""
EARLY_ANNOUNCE_SECONDS: Final = 0.1
"""After so long it is asked for more where most of what it gave us is here."""
REPLY_SECONDS: Final = 5.0
"""After so long without an answer a provider is a mirror like any other."""
LIMIT_GRACE_SECONDS: Final = 0.4
"""After so long without a first answer a provider is asked for everything meanwhile."""
STOP_SECONDS: Final = 0.5
"""The time for telling providers that we stop."""
MAX_FAILED: Final = 16
"""Peers named as failed in one announcement; a provider takes no more."""
MAX_REPLY: Final = 96 * 1024
MAX_SESSIONS: Final = 8
"""Artifacts that a provider hears of at once."""
PLAIN_HTTP: Final = "http://"
"""Nobody is met at an HTTPS mirror: it is on the Internet, and sees other addresses than ours."""


class TrackerClient:
    """What we hold of each artifact, and what every provider says of others who fetch it.

    Nothing that a provider or another machine says is believed. Who misleads us costs time: where
    no chunk comes for some seconds, everything may be asked of the provider itself.
    """

    def __init__(
        self,
        neighbours: Neighbours,
        *,
        clock: Clock,
        reach: Reach,
        emit: Callable[[Event], None],
    ) -> None:
        """Begin with nothing to hand on."""
        self._neighbours = neighbours
        self._clock = clock
        self._reach = reach
        self._emit = emit
        self._sessions: list[PeerSession] = []
        self._loops: dict[str, asyncio.Task[None]] = {}
        self._joined: set[str] = set()
        self._reported: dict[str, set[str]] = {}
        """The peers that each provider was told have failed."""
        self._wakeup = asyncio.Event()
        self._last_bytes, self._last_progress = 0, float("-inf")

    @asynccontextmanager
    async def join(
        self, context: DownloadContext, root: Cid, mosaic: ChunkWriter, swarm: Swarm
    ) -> AsyncIterator[PeerSession | None]:
        """Hand on an artifact while it is fetched and after that; None if that cannot be.

        Providers passed to `PeerSession.limit_to_assigned` are asked for peers.
        """
        session = await self._start_session(context, root, mosaic, swarm)
        if session is None:
            yield None
            return
        self._sessions = [*self._sessions, session][-MAX_SESSIONS:]
        try:
            yield session
        finally:
            if not mosaic.complete:
                self._sessions = [each for each in self._sessions if each is not session]
            try:
                session.finish()
            except Exception as fault:  # noqa: BLE001 - who helps others must not cost a boot
                self._emit_failure(fault)

    async def open(self) -> None:
        """Let go of what an earlier run handed on, which may have to make room."""
        try:
            async with asyncio.timeout(REPLY_SECONDS):
                await self._neighbours.clear()
        except Exception as fault:  # noqa: BLE001 - who helps others must not cost a boot
            self._emit_failure(fault)

    async def close(self) -> None:
        """Tell providers that we stop; what was handed on stays so as long as its process lives.

        A provider that is told names us to no other machine, which would wait for our answer.
        """
        loops = tuple(self._loops.values())
        for loop in loops:
            loop.cancel()
        await asyncio.gather(*loops, return_exceptions=True)
        stops = [asyncio.create_task(self._announce_stop(base)) for base in self._joined]
        if stops:
            _, late = await asyncio.wait(stops, timeout=STOP_SECONDS)
            for stop in late:
                stop.cancel()
            await asyncio.gather(*stops, return_exceptions=True)

    async def _start_session(
        self, context: DownloadContext, root: Cid, mosaic: ChunkWriter, swarm: Swarm
    ) -> PeerSession | None:
        stretches = PieceMap(mosaic.chunks)
        share = Share(mosaic.artifact.digest, root, mosaic.artifact.size)
        try:
            async with asyncio.timeout(REPLY_SECONDS):
                shared = await self._neighbours.share(
                    share, mosaic.fileno(), stretches.piece_offsets()
                )
        except Exception as fault:  # noqa: BLE001 - who helps others must not cost a boot
            self._emit_failure(fault)
            return None
        return PeerSession(context, root, mosaic, swarm, stretches, shared, self._track)

    def _track(self, base: str) -> bool:
        """Ask a provider from now on who else is there; say whether it may be one to ask."""
        if not base.startswith(PLAIN_HTTP):
            return False
        if base not in self._loops:
            self._loops[base] = asyncio.create_task(self._announce_loop(base))
        self._last_progress = self._clock.monotonic()
        self._wakeup.set()
        return not self._loops[base].done()

    async def _announce_loop(self, base: str) -> None:
        """Exchange with one provider, until it shows that nobody meets there."""
        joined = False
        try:
            while True:
                told = await self._announce(base)
                if told and not joined:
                    joined = True
                    self._joined.add(base)
                    self._emit(MeetingJoined(source=base))
                await self._wait_until_due(base)
        except FetchFailed:
            pass
        except Exception as fault:  # noqa: BLE001 - who helps others must not cost a boot
            self._emit_failure(fault, base)
        finally:
            for session in self._sessions:
                session.lift_limit(base)

    async def _announce(self, base: str) -> bool:
        """Tell a provider what we hold and hear who else does; say whether it answered.

        Raises:
            FetchFailed: nobody meets there.
        """
        sessions = tuple(self._sessions)
        failed = self._reported[base] = self._failed()
        said = {
            "port": self._neighbours.port,
            "roots": {str(session.root): session.announcement() for session in sessions},
            "failed": sorted(failed)[:MAX_FAILED],
        }
        hedge = asyncio.create_task(self._hedge(base))
        try:
            async with asyncio.timeout(REPLY_SECONDS):
                raw = await self._post(base, said)
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
            hedge.cancel()
        for session in sessions:
            session.lift_limit(base)
        return False

    async def _post(self, base: str, said: Mapping[str, object]) -> bytes:
        return await self._neighbours.tell(
            below(base, PEERS), json.dumps(said).encode(), limit=MAX_REPLY, reach=self._reach
        )

    async def _hedge(self, base: str) -> None:
        """Let a provider that has not said what is ours be asked for everything."""
        await asyncio.sleep(LIMIT_GRACE_SECONDS)
        for session in self._sessions:
            session.lift_limit_until_reply(base)

    async def _announce_stop(self, base: str) -> None:
        said = {"port": self._neighbours.port, "roots": {}, "event": "stopped"}
        await self._post(base, said)

    def _failed(self) -> set[str]:
        """Return the peers that do not answer us, and did not for an earlier artifact."""
        before = set[str]().union(*self._reported.values())
        still = {
            url for url in before if any(session.is_suspect(url) for session in self._sessions)
        }
        return still.union(*(session.failed_peers() for session in self._sessions))

    async def _wait_until_due(self, base: str) -> None:
        """Wait for the next exchange, or until more should be asked for.

        Where nothing has come for a while nobody looks for that in between.
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
            over = waited >= (IDLE_ANNOUNCE_SECONDS if self._is_idle() else ANNOUNCE_SECONDS)
            if over or any(session.wants_more(base) for session in self._sessions):
                return
            if self._failed() - self._reported.get(base, set()):
                return

    def _is_idle(self) -> bool:
        """Say whether no chunk has come for a while."""
        now, here = (
            self._clock.monotonic(),
            sum(session.bytes_present for session in self._sessions),
        )
        if here != self._last_bytes:
            self._last_bytes, self._last_progress = here, now
        return now - self._last_progress > IDLE_ANNOUNCE_SECONDS

    def _emit_failure(self, fault: Exception, base: str = "") -> None:
        match fault:
            case FetchFailed():
                reason = str(fault)
            case TimeoutError():
                reason = f"no answer for {REPLY_SECONDS:g} seconds"
            case _:
                reason = f"{type(fault).__name__}: {fault}"
        self._emit(MeetingFailed(source=base, reason=reason))
