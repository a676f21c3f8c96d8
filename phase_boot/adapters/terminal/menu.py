"""The Seed Shell's menu in one console session, and the questions that complete a choice."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from ipaddress import ip_address, ip_interface
from types import MappingProxyType
from typing import Final, TypeVar

from phase_boot.adapters.terminal.console_session import ConsoleSession
from phase_boot.adapters.terminal.terminals import MAX_LINE, InputCancelled
from phase_boot.console import journal_text, screen
from phase_boot.ports.network import Setup, WithPrefix
from phase_boot.ports.operator import Answer, CandidateOption, MenuAction, Report
from phase_boot.url import Url

T = TypeVar("T")

JOURNAL: Final = "j"
MENU: Final[Mapping[MenuAction, tuple[str, str]]] = MappingProxyType(
    {
        MenuAction.RETRY: ("r", "retry"),
        MenuAction.CANDIDATE: ("c", "choose another candidate"),
        MenuAction.URL: ("u", "type the URL of a manifest"),
        MenuAction.NETWORK: ("n", "set up the network"),
        MenuAction.CLOCK: ("t", "set the clock"),
        MenuAction.SAVE: ("s", "save a report to the stick"),
        MenuAction.ROOT_SHELL: ("x", "open a root shell"),
        MenuAction.REBOOT: ("b", "reboot"),
        MenuAction.POWER_OFF: ("o", "power off"),
        MenuAction.QUIT: ("q", "quit"),
    }
)
"""Letter and label of each action: the menu offers no other."""
PROMPT: Final = "Your choice: "
INSTANT: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(:[0-9]{2})?(Z|[+-][0-9]{2}:[0-9]{2})?"
)


async def run_menu(session: ConsoleSession, report: Report, *, start: float) -> Answer:
    """Show the report and the menu until a choice is complete.

    Raises:
        TerminalClosed: the terminal is gone.
    """
    items = {MENU[offered][0]: offered for offered in report.actions}
    entries = [(letter, MENU[offered][1]) for letter, offered in items.items()]
    entries.append((JOURNAL, "show the journal"))
    _open(session, report, start, below=len(screen.menu(entries, columns=session.columns)))
    while True:
        session.say("", *screen.menu(entries, columns=session.columns))
        try:
            typed = (await session.ask(PROMPT)).lower()
        except InputCancelled:
            if MenuAction.QUIT in report.actions:
                return Answer(MenuAction.QUIT)
            continue
        if typed == JOURNAL:
            await _pages(session, journal_text.in_full(report.events, start=start))
        elif typed in items:
            answer = await _complete(session, items[typed], report)
            if answer is not None:
                return answer
        else:
            letters = " ".join((*items, JOURNAL))
            session.say(screen.cut(f"{typed!r} is none of {letters}.", session.columns - 1))


async def choose_candidate(
    session: ConsoleSession, options: Sequence[CandidateOption]
) -> str | None:
    """Show ``options`` until one or none of them is chosen.

    Raises:
        TerminalClosed: the terminal is gone.
    """
    rows = [(offer.url, offer.finder, offer.refused) for offer in options]
    lines = list(screen.numbered(rows, columns=session.columns))
    summary = f"{len(options)} found. The one you choose is verified like any other."
    header = ["", *screen.fitted(summary, session.columns - 1)]
    session.say(*header)
    for page in screen.pages(lines, columns=session.columns, rows=session.rows - len(header)):
        session.say(*page)
        while True:
            try:
                typed = await session.ask("Number (Enter: more, or none): ")
            except InputCancelled:
                return None
            if not typed:
                break
            if typed.isdecimal() and len(typed) < len("1000") and 0 < int(typed) <= len(options):
                return options[int(typed) - 1].url
            session.say(f"Type a number from 1 to {len(options)}.")
    return None


def _open(session: ConsoleSession, report: Report, start: float, *, below: int) -> None:
    """Show as much as fits above the ``below`` rows of the menu, a blank row and the prompt."""
    if report.note is not None:
        session.say("", *screen.folded(report.note, session.columns - 1))
        return
    timeline = journal_text.timeline(report.events, start=start)
    room = session.rows - below - 2
    lines = screen.opening(
        report.cause, report.refusals, timeline, columns=session.columns, rows=room
    )
    session.say(*lines)


async def _complete(session: ConsoleSession, action: MenuAction, report: Report) -> Answer | None:
    """Ask for the values that the action needs, and return the answer; None returns to the menu."""
    try:
        if action is MenuAction.URL:
            url = await _field(session, "URL of a manifest.json (Enter: menu): ", _url)
            return Answer(action, url) if url else None
        if action is MenuAction.NETWORK:
            setup = await _network(session, report.interfaces)
            return Answer(action, setup=setup) if setup else None
        if action is MenuAction.CLOCK:
            wall = await _field(session, "UTC now, like 2026-11-29 20:53 (Enter: menu): ", _instant)
            return Answer(action, wall=wall) if wall else None
    except InputCancelled:
        return None
    if action is MenuAction.CANDIDATE:
        session.say("Looking for what is on offer; this takes a few seconds.")
    return Answer(action)


def _url(typed: str) -> str:
    # A line as long as the terminal's buffer may be truncated.
    return str(Url.parse(typed, max_length=MAX_LINE - 1)) if typed else typed


def _instant(typed: str) -> datetime | None:
    if not typed:
        return None
    if not INSTANT.fullmatch(typed):
        raise ValueError("write it in UTC, like 2026-11-29 20:53 or 2026-11-29T20:53:00Z")
    found = datetime.fromisoformat(typed)
    return found if found.tzinfo else found.replace(tzinfo=UTC)


async def _network(session: ConsoleSession, interfaces: Sequence[str]) -> Setup | None:
    """Ask field by field; ask again if the fields contradict each other."""
    if not interfaces:
        session.say("This machine has no network interface to configure.")
        return None
    session.say("", screen.cut(f"Interfaces: {', '.join(interfaces)}", session.columns - 1))
    while True:
        interface = await _field(session, f"Interface [{interfaces[0]}]: ", _one_of(interfaces))
        addresses = await _field(
            session, "Addresses, like 192.0.2.7/24 (Enter: by DHCP): ", _list(_with_prefix)
        )
        gateways = await _field(session, "Gateway (Enter: none): ", _list(ip_address))
        dns = await _field(session, "Name servers (Enter: none, or DHCP's): ", _list(ip_address))
        vlan = await _field(session, "VLAN number (Enter: none): ", _number)
        try:
            setup = Setup(
                interface=interface, addresses=addresses, gateways=gateways, dns=dns, vlan=vlan
            )
        except ValueError as error:
            session.say(
                *screen.folded(f"This configuration is invalid: {error}.", session.columns - 1)
            )
            continue
        by = ", ".join(map(str, setup.addresses)) or "DHCP"
        if await session.choice(f"Set {interface} to {by}? [y/n] ", "yn") == "y":
            return setup
        return None


async def _field(session: ConsoleSession, prompt: str, parse: Callable[[str], T]) -> T:
    while True:
        typed = await session.ask(prompt)
        try:
            return parse(typed)
        except ValueError as error:
            session.say(*screen.folded(screen.sentence(f"No: {error}"), session.columns - 1))


def _one_of(names: Sequence[str]) -> Callable[[str], str]:
    def parse(typed: str) -> str:
        if typed and typed not in names:
            raise ValueError(f"{typed!r} is none of {', '.join(names)}")
        return typed or names[0]

    return parse


def _list(parse: Callable[[str], T]) -> Callable[[str], tuple[T, ...]]:
    return lambda typed: tuple(parse(word) for word in typed.replace(",", " ").split())


def _with_prefix(word: str) -> WithPrefix:
    if "/" not in word:
        raise ValueError(f"{word!r} has no prefix; write it like 192.0.2.7/24 or 2001:db8::7/64")
    return ip_interface(word)


def _number(typed: str) -> int | None:
    if not typed:
        return None
    if not typed.isdecimal() or len(typed) > len("4094"):
        raise ValueError("a VLAN has a number from 1 to 4094")
    return int(typed)


async def _pages(session: ConsoleSession, lines: Sequence[str]) -> None:
    """Show ``lines`` page by page, the newest first, until Enter returns to the menu."""
    cut = screen.pages(lines, columns=session.columns, rows=session.rows)
    at = len(cut) - 1
    while True:
        session.say(*cut[at])
        where = f"Page {at + 1} of {len(cut)} (b back, n next): "
        try:
            typed = await session.choice(where, "bn")
        except InputCancelled:
            return
        if not typed:
            return
        at = max(at - 1, 0) if typed == "b" else min(at + 1, len(cut) - 1)
