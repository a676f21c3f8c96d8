"""Who fetches the same at the same time: met at a provider, handed what we hold, and asked too."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Final

from phase_boot.content.cid import Cid
from phase_boot.content.pieces import Stretches
from phase_boot.download.announce_reply import read_roots
from phase_boot.download.context import Errand
from phase_boot.download.events import MeetingFailed, MeetingJoined
from phase_boot.download.peer_session import Seat
from phase_boot.download.swarm import Swarm
from phase_boot.machine.events import Event
from phase_boot.ports.clock import Clock
from phase_boot.ports.fetcher import FetchFailed
from phase_boot.ports.neighbours import Neighbours, Share
from phase_boot.store.layout import PEERS
from phase_boot.store.mosaic import Mosaic
from phase_boot.url import below
from policies.model import Reach

TELL_SECONDS: Final = 1.0
"""So often a provider hears from us while chunks come."""
QUIET_SECONDS: Final = 3.0
"""So often it does while none come, or it forgets us."""
HUNGRY_SECONDS: Final = 0.1
"""After so long it is asked for more where most of what it gave us is here."""
PATIENCE_SECONDS: Final = 5.0
"""After so long without an answer a provider is a mirror like any other."""
HEDGE_SECONDS: Final = 0.4
"""After so long without a first answer a provider is asked for everything meanwhile."""
FAREWELL_SECONDS: Final = 0.5
"""The time for telling providers that we stop."""
MAX_FAILED: Final = 16
"""Peers named as failed in one announcement; a provider takes no more."""
MOST_ANSWER: Final = 96 * 1024
MOST_SEATS: Final = 8
"""Artifacts that a provider hears of at once."""
NEAR: Final = "http://"
"""Nobody is met at an HTTPS mirror: it is on the Internet, and sees other addresses than ours."""


class Circle:
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
        self._seats: list[Seat] = []
        self._visits: dict[str, asyncio.Task[None]] = {}
        self._joined: set[str] = set()
        self._reported: dict[str, set[str]] = {}
        """The peers that each provider was told have failed."""
        self._news = asyncio.Event()
        self._here, self._moved = 0, float("-inf")

    @asynccontextmanager
    async def seat(
        self, errand: Errand, root: Cid, mosaic: Mosaic, swarm: Swarm
    ) -> AsyncIterator[Seat | None]:
        """Hand on an artifact while it is fetched and after that; None if that cannot be.

        Whoever gives us the seat's `Seat.host` is asked who else is there.
        """
        seat = await self._seated(errand, root, mosaic, swarm)
        if seat is None:
            yield None
            return
        self._seats = [*self._seats, seat][-MOST_SEATS:]
        try:
            yield seat
        finally:
            if not mosaic.complete:
                self._seats = [each for each in self._seats if each is not seat]
            try:
                seat.leave()
            except Exception as fault:  # noqa: BLE001 - who helps others must not cost a boot
                self._told(fault)

    async def open(self) -> None:
        """Let go of what an earlier run handed on, which may have to make room."""
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await self._neighbours.clear()
        except Exception as fault:  # noqa: BLE001 - who helps others must not cost a boot
            self._told(fault)

    async def close(self) -> None:
        """Tell providers that we stop; what was handed on stays so as long as its process lives.

        A provider that is told names us to no other machine, which would wait for our answer.
        """
        visits = tuple(self._visits.values())
        for visit in visits:
            visit.cancel()
        await asyncio.gather(*visits, return_exceptions=True)
        farewells = [asyncio.create_task(self._stop(base)) for base in self._joined]
        if farewells:
            _, late = await asyncio.wait(farewells, timeout=FAREWELL_SECONDS)
            for farewell in late:
                farewell.cancel()
            await asyncio.gather(*farewells, return_exceptions=True)

    async def _seated(self, errand: Errand, root: Cid, mosaic: Mosaic, swarm: Swarm) -> Seat | None:
        stretches = Stretches(mosaic.chunks)
        share = Share(mosaic.artifact.digest, root, mosaic.artifact.size)
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                shared = await self._neighbours.share(share, mosaic.fileno(), stretches.cuts())
        except Exception as fault:  # noqa: BLE001 - who helps others must not cost a boot
            self._told(fault)
            return None
        return Seat(errand, root, mosaic, swarm, stretches, shared, self._visit)

    def _visit(self, base: str) -> bool:
        """Ask a provider from now on who else is there; say whether it may be one to ask."""
        if not base.startswith(NEAR):
            return False
        if base not in self._visits:
            self._visits[base] = asyncio.create_task(self._visiting(base))
        self._moved = self._clock.monotonic()
        self._news.set()
        return not self._visits[base].done()

    async def _visiting(self, base: str) -> None:
        """Exchange with one provider, until it shows that nobody meets there."""
        joined = False
        try:
            while True:
                told = await self._exchange(base)
                if told and not joined:
                    joined = True
                    self._joined.add(base)
                    self._emit(MeetingJoined(source=base))
                await self._pause(base)
        except FetchFailed:
            pass
        except Exception as fault:  # noqa: BLE001 - who helps others must not cost a boot
            self._told(fault, base)
        finally:
            for seat in self._seats:
                seat.release(base)

    async def _exchange(self, base: str) -> bool:
        """Tell a provider what we hold and hear who else does; say whether it answered.

        Raises:
            FetchFailed: nobody meets there.
        """
        seats = tuple(self._seats)
        failed = self._reported[base] = self._failed()
        said = {
            "port": self._neighbours.port,
            "roots": {str(seat.root): seat.notice() for seat in seats},
            "failed": sorted(failed)[:MAX_FAILED],
        }
        hedge = asyncio.create_task(self._hedge(base))
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                raw = await self._post(base, said)
            roots = read_roots(raw)
        except TimeoutError:
            pass
        except FetchFailed as failure:
            if not failure.retryable:
                raise
        except ValueError as error:
            raise FetchFailed(str(error), retryable=False) from error
        else:
            for seat in seats:
                seat.hear(base, roots.get(str(seat.root)))
            return True
        finally:
            hedge.cancel()
        for seat in seats:
            seat.release(base)
        return False

    async def _post(self, base: str, said: Mapping[str, object]) -> bytes:
        return await self._neighbours.tell(
            below(base, PEERS), json.dumps(said).encode(), limit=MOST_ANSWER, reach=self._reach
        )

    async def _hedge(self, base: str) -> None:
        """Let a provider that has not said what is ours be asked for everything."""
        await asyncio.sleep(HEDGE_SECONDS)
        for seat in self._seats:
            seat.lift(base)

    async def _stop(self, base: str) -> None:
        said = {"port": self._neighbours.port, "roots": {}, "event": "stopped"}
        await self._post(base, said)

    def _failed(self) -> set[str]:
        """Return the peers that do not answer us, and did not for an earlier artifact."""
        before = set[str]().union(*self._reported.values())
        still = {url for url in before if any(seat.suspects(url) for seat in self._seats)}
        return still.union(*(seat.failed() for seat in self._seats))

    async def _pause(self, base: str) -> None:
        """Wait for the next exchange, or until more should be asked for.

        Where nothing has come for a while nobody looks for that in between.
        """
        began = self._clock.monotonic()
        while not any(seat.awaits(base) for seat in self._seats):
            self._news.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(QUIET_SECONDS if self._is_quiet() else HUNGRY_SECONDS):
                    await self._news.wait()
            waited = self._clock.monotonic() - began
            over = waited >= (QUIET_SECONDS if self._is_quiet() else TELL_SECONDS)
            if over or any(seat.hungers(base) for seat in self._seats):
                return
            if self._failed() - self._reported.get(base, set()):
                return

    def _is_quiet(self) -> bool:
        """Say whether no chunk has come for a while."""
        now, here = self._clock.monotonic(), sum(seat.bytes for seat in self._seats)
        if here != self._here:
            self._here, self._moved = here, now
        return now - self._moved > QUIET_SECONDS

    def _told(self, fault: Exception, base: str = "") -> None:
        match fault:
            case FetchFailed():
                reason = str(fault)
            case TimeoutError():
                reason = f"no answer for {PATIENCE_SECONDS:g} seconds"
            case _:
                reason = f"{type(fault).__name__}: {fault}"
        self._emit(MeetingFailed(source=base, reason=reason))
