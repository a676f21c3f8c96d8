"""The screens that the documents show are what the programs print."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator
from dataclasses import replace
from pathlib import Path
from typing import Final

from image.lab.boot_timing import REPORT, table
from image.lab.demo import show_event
from image.lab.guest_events import Event
from phase_boot.adapters.terminal.console_operator import ConsoleOperator
from phase_boot.adapters.terminal.terminals import Terminals
from phase_boot.console.lines import Console
from phase_boot.drill.fake_network import FakeNetwork
from phase_boot.drill.scenario import Scenario, lan_scenario
from phase_boot.journal import event as journal_event
from phase_boot.journal.content_events import FetchDone, ManifestVerified
from phase_boot.journal.handoff_events import KexecLoaded
from phase_boot.journal.record import Record
from phase_boot.journal.run_events import Transition
from phase_boot.machine.graph import State, Trigger
from phase_boot.ports.finder import LAN, Candidate, DiscoveryQuery
from phase_boot.ports.network import Link
from tests.support.console_user import ConsoleUser

ROOT: Final = Path(__file__).parents[2]
BLOCK: Final = re.compile(r"^```\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK_SECONDS: Final = 0.5
VERSION: Final = "2026.11.28.48253"
PROVIDER: Final = "http://10.77.0.1:8070"
MIB: Final = 1024 * 1024


def example(page: str) -> str:
    """Return the first fenced block without a language."""
    found = BLOCK.search((ROOT / page).read_text())
    assert found is not None
    return found[1]


class EmptyNetwork:
    """A LAN finder that searches for the whole window and finds nothing."""

    kind = LAN

    async def find(self, query: DiscoveryQuery) -> AsyncGenerator[Candidate, None]:
        await asyncio.sleep(query.seconds)
        found: tuple[Candidate, ...] = ()
        for candidate in found:
            yield candidate


def nothing_found() -> Scenario:
    """Run a boot on a network without a provider, up to the Seed Shell."""
    scenario = lan_scenario()
    scenario.lan = EmptyNetwork()
    link = Link("eth0", ("10.77.0.61/24",), gateways=("10.77.0.1",), dns=("10.77.0.1",))
    scenario.network = FakeNetwork(links=(), later=((LINK_SECONDS, (link,)),))
    scenario.run()
    return scenario


async def test_the_page_of_the_seed_shell_shows_its_screen() -> None:
    scenario = await asyncio.to_thread(nothing_found)
    # The countdown is gone once a key was pressed.
    report = replace(scenario.operator.reports[0], retry_in=None)
    with ConsoleUser(80, 25) as person:
        operator = ConsoleOperator(Terminals([person.terminal]))
        asked = asyncio.create_task(operator.ask(report))
        await person.see("choice:")
        screen = "\n".join(person.screen).rstrip()
        person.type("r\r")
        await asked
    assert example("docs/seed-shell.md") == f"{screen}\n"


def moved(source: State, trigger: Trigger, target: State, elapsed: float) -> Transition:
    return Transition(
        source=source, trigger=trigger, target=target, cause=None, attempt=1, elapsed=elapsed
    )


def fetched(artifact: str, mib: float, rate: float) -> FetchDone:
    size = round(mib * MIB)
    return FetchDone(
        artifact=artifact, sha256="", size=size, source=PROVIDER, seconds=size / MIB / rate
    )


DEMO: Final[tuple[tuple[float, journal_event.Event], ...]] = (
    (12.21, moved(State.NET_UP, Trigger.LINKED, State.DISCOVER, 1.94)),
    (12.41, moved(State.DISCOVER, Trigger.FOUND, State.VERIFY, 0.2)),
    (
        12.57,
        ManifestVerified(version=VERSION, channel="stable", arch="amd64", keys=("key",), url=""),
    ),
    (13.89, fetched("kernel", 11.6, 9.9)),
    (14.48, fetched("initramfs", 3.4, 7.6)),
    (17.97, fetched("rootfs", 46.3, 14.3)),
    (17.97, moved(State.FETCH, Trigger.FETCHED, State.KEXEC, 5.4)),
    (19.5, KexecLoaded(method="kexec_file_load", cmdline="")),
)
"""The events of one boot of `make demo` that the README shows."""
REPORTED: Final = 7.81
TOTAL: Final = 34.96


def test_the_readme_shows_lines_as_the_demo_prints_them() -> None:
    out: list[str] = []
    console = Console(out.append)
    lines = [
        Record(event=event, seq=seq, at=at).line.encode() for seq, (at, event) in enumerate(DEMO)
    ]
    for event in (Event.parse(line, 0.0) for line in lines):
        assert isinstance(event, Event)
        show_event(event, console, out.append)
    report = Event(name=REPORT, seq=0, at=REPORTED, arrived=0.0, fields={"version": VERSION})
    show_event(report, console, out.append)
    shown = "".join([*out, *table((), TOTAL), "\n"])
    assert example("README.md") == shown
