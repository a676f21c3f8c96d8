"""Shell: shows the failure in one sentence, and lets a person choose the next action.

No action boots what was refused (SPEC M4.5): each attempt starts at Init without the candidates,
manifest and images of the previous one, and passes Verify. Without a person, an unattended machine
retries after a pause.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Final

from phase_boot.console import journal_text
from phase_boot.discovery.candidates import discovery_query
from phase_boot.discovery.rediscover import list_candidates
from phase_boot.journal.network_events import NetworkNotSet, NetworkSet
from phase_boot.journal.run_events import (
    Crashed,
    ReportNotSaved,
    ReportSaved,
    RetryScheduled,
    ShellChose,
    ShellOpened,
)
from phase_boot.machine import promises, wall_clock
from phase_boot.machine.boot import BootContext
from phase_boot.machine.cleanup import release
from phase_boot.machine.deferral import for_next_attempt
from phase_boot.machine.errors import NotLocal, NotPrivate
from phase_boot.machine.graph import State, Trigger
from phase_boot.machine.handler import Handler, Ports, Step
from phase_boot.machine.retries import Retry
from phase_boot.machine.waiting import Pause, RetryDue, answer_or_retry
from phase_boot.ports.finder import LAN, server_of
from phase_boot.ports.network import SetupFailed
from phase_boot.ports.operator import Answer, MenuAction, Report
from phase_boot.ports.reports import NotSaved
from policies.model import Mode, Reach

ACTION_SECONDS: Final = 120
"""Time limit of an action, after which the menu is shown again."""
TOO_LONG: Final = f"it took more than {ACTION_SECONDS} seconds"
MAX_FAILURES: Final = 3
"""Unforeseen failures of actions in a row, after which the daemon ends with a failure."""
EARLIEST: Final = datetime(2025, 1, 1, tzinfo=UTC)
"""Earliest time to which the clock is set, until the build date is known."""
LATEST: Final = datetime(2200, 1, 1, tzinfo=UTC)
"""The clock is set only to earlier times than this."""
WAY_OUT: Final = "Retry, type the URL of a manifest, reboot or power off."


async def shell(ports: Ports, boot: BootContext) -> Step:
    """Leads to: init (retry), init (auto_retry), off (leave)."""
    cause = boot.failure.sentence if boot.failure else "a person asked for the shell"
    pause = _pause(ports, boot) if await _is_unattended(ports, boot) else None
    ports.emit(ShellOpened(cause=cause, way_out=_way_out(pause)))
    if boot.images is not None:
        boot.images.close()
    try:
        return await _run_menu(ports, boot, cause, pause)
    except RetryDue as due:
        return _auto_retry(ports, boot, early=due.early)


async def _run_menu(ports: Ports, boot: BootContext, cause: str, pause: Pause | None) -> Step:
    """Show the menu and perform actions until one of them leaves the Shell.

    Raises:
        RetryDue: ``pause`` is over and no key was pressed.
    """
    note, failures = None, 0
    while True:
        report = _report(ports, boot, cause, note)
        if pause is None:
            answer = await ports.operator.ask(report)
        else:
            report = replace(report, way_out=_way_out(pause), retry_in=pause.seconds)
            answer = await answer_or_retry(ports, boot, report, pause)
            # A person is present from now on, so that no automatic retry follows.
            pause = None
        if answer.action not in report.actions:
            # The console must not extend the permitted actions.
            return await _leave(ports, boot, MenuAction.QUIT)
        ports.emit(ShellChose(action=answer.action))
        try:
            outcome = await _ACTIONS.get(answer.action, _leave_menu)(ports, boot, answer)
            failures = 0
        except Exception as error:
            # After an unforeseen failure of one action the person can choose another.
            failures += 1
            if failures >= MAX_FAILURES:
                raise
            ports.emit(Crashed(state=State.SHELL, error=repr(error), trace=""))
            outcome = f"That failed in an unforeseen way ({type(error).__name__})."
        if isinstance(outcome, Step):
            return outcome
        note = outcome


async def _is_unattended(ports: Ports, boot: BootContext) -> bool:
    """Return whether this machine retries by itself; with an unusable policy it does."""
    if not boot.unattended:
        return False
    if boot.policy is not None:
        return boot.policy.shell.unattended
    try:
        async with asyncio.timeout(ACTION_SECONDS):
            policy = await ports.platform.policy((await ports.platform.facts()).mode)
    except Exception:  # noqa: BLE001 - the report has the cause already
        return True
    return policy.shell.unattended


def _pause(ports: Ports, boot: BootContext) -> Pause:
    """Return the pause before the next attempt, and which changes of the network end it early."""
    policy, kind = boot.policy, _kind(boot)
    seconds = boot.retries.pause(kind, ports.chance())
    ports.emit(
        RetryScheduled(retries=boot.retries.total, kind=kind.value, seconds=round(seconds, 1))
    )
    if policy is None or kind is not Retry.SOON or not boot.retries.may_be_early:
        return Pause(seconds=seconds)
    on_lan = boot.link is not None and LAN in policy.discovery.order
    return Pause(
        seconds=seconds,
        query=discovery_query(boot) if on_lan else None,
        network=True,
    )


def _kind(boot: BootContext) -> Retry:
    return boot.failure.retry if boot.failure else Retry.LATE


def _way_out(pause: Pause | None) -> str:
    if pause is None:
        return WAY_OUT
    return (
        f"The machine tries again by itself in {pause.seconds:.0f} s unless a key is pressed; "
        f"or {WAY_OUT[0].lower()}{WAY_OUT[1:]}"
    )


def _report(ports: Ports, boot: BootContext, cause: str, note: str | None) -> Report:
    return Report(
        cause=cause,
        way_out=WAY_OUT,
        refusals=tuple(map(str, boot.refusals)),
        events=ports.journal.newest,
        mode=boot.facts.mode if boot.facts else None,
        actions=_permitted_actions(boot),
        interfaces=ports.network.interfaces(),
        note=note,
    )


def _permitted_actions(boot: BootContext) -> tuple[MenuAction, ...]:
    """Return the permitted actions; without a policy none that a policy could forbid."""
    policy = boot.policy
    allowed = {
        MenuAction.CANDIDATE: policy is not None,
        MenuAction.SAVE: policy is not None and policy.mode is not Mode.PRIVATE,
        MenuAction.ROOT_SHELL: policy is not None and policy.shell.root,
    }
    return tuple(action for action in MenuAction if allowed.get(action, True))


async def _retry(ports: Ports, boot: BootContext, _answer: Answer) -> Step:
    return Step(Trigger.RETRY, _reset(ports, boot, boot.typed_url))


async def _url(ports: Ports, boot: BootContext, answer: Answer) -> Step | str:
    return _try_url(ports, boot, answer.url) if answer.url else "No URL was typed."


async def _candidate(ports: Ports, boot: BootContext, _answer: Answer) -> Step | str:
    try:
        # A search uses the network, and a broken promise may be the reason for the Shell.
        await promises.check(ports, boot)
    except (NotPrivate, NotLocal) as failure:
        return f"Nothing is looked for: {failure}."
    options = await list_candidates(ports, discovery_query(boot), boot)
    if not options:
        return "Nothing turned up; start a provider on this network, or type a URL."
    url = await ports.operator.choose(options)
    if url not in {option.url for option in options}:
        return "Nothing was chosen."
    return _try_url(ports, boot, url)


async def _network(ports: Ports, boot: BootContext, answer: Answer) -> Step | str:
    setup, policy = answer.setup, boot.policy
    if setup is None:
        return "The network is as it was."
    if obstacle := await promises.obstacle(ports, policy, setup.interface):
        ports.emit(NetworkNotSet(reason=f"{setup.interface}: {obstacle}"))
        return f"{setup.interface} is not set up: {obstacle}."
    lan_only = policy is None or policy.network.reach is Reach.LAN
    try:
        async with asyncio.timeout(ACTION_SECONDS):
            await ports.network.configure(setup, lan_only=lan_only)
    except (SetupFailed, TimeoutError) as error:
        failure = error if str(error) else TOO_LONG
        ports.emit(NetworkNotSet(reason=str(failure)))
        return f"The network could not be set up: {failure}."
    addresses = tuple(str(address) for address in setup.addresses)
    ports.emit(NetworkSet(interface=setup.interface, addresses=addresses, vlan=setup.vlan))
    return await _retry(ports, boot, answer)


async def _clock(ports: Ports, boot: BootContext, answer: Answer) -> Step | str:
    """Set the system clock, and derive the time of the next attempt from it (ADR 0004)."""
    wall, earliest = answer.wall, boot.facts.built if boot.facts else EARLIEST
    if wall is None:
        return "The clock is as it was."
    if not earliest <= wall < LATEST:
        bounds = f"{earliest:%Y-%m-%d %H:%M} and {LATEST:%Y-%m-%d}"
        return f"The clock is as it was: type a time in UTC between {bounds}."
    refused = wall_clock.set_clock(ports, wall)
    if refused is not None:
        return f"The clock could not be set: {refused}."
    return Step(Trigger.RETRY, replace(_reset(ports, boot, boot.typed_url), now=None))


async def _save(ports: Ports, boot: BootContext, _answer: Answer) -> str:
    events = ports.journal.newest
    text = journal_text.report_text(
        _facts(boot),
        tuple(map(str, boot.refusals)),
        events=events,
        journal="\n".join(ports.journal.lines),
    )
    try:
        async with asyncio.timeout(ACTION_SECONDS):
            where = await ports.reports.save(journal_text.boot_id(events), text)
    except (NotSaved, TimeoutError) as error:
        failure = error if str(error) else TOO_LONG
        ports.emit(ReportNotSaved(reason=str(failure)))
        return f"The report could not be saved: {failure}."
    ports.emit(ReportSaved(where=where))
    return f"The report is saved: {where}."


async def _root_shell(ports: Ports, _boot: BootContext, answer: Answer) -> str:
    await ports.operator.perform(answer.action)
    return "The root shell has ended."


async def _leave_menu(ports: Ports, boot: BootContext, answer: Answer) -> Step:
    return await _leave(ports, boot, answer.action)


_ACTIONS: Final[
    Mapping[MenuAction, Callable[[Ports, BootContext, Answer], Awaitable[Step | str]]]
] = MappingProxyType(
    {
        MenuAction.RETRY: _retry,
        MenuAction.URL: _url,
        MenuAction.CANDIDATE: _candidate,
        MenuAction.NETWORK: _network,
        MenuAction.CLOCK: _clock,
        MenuAction.SAVE: _save,
        MenuAction.ROOT_SHELL: _root_shell,
    }
)


async def _leave(ports: Ports, boot: BootContext, action: MenuAction) -> Step:
    ports.journal.flush()
    await release(ports, boot)
    await ports.operator.perform(action)
    # A remaining failure would mean that no person could be asked (`app.daemon.run`).
    return Step(Trigger.LEAVE, replace(boot, failure=None))


def _try_url(ports: Ports, boot: BootContext, url: str) -> Step | str:
    """Try ``url`` first, unless its server is banned in this boot."""
    server = server_of(url)
    if server in boot.banned_origins:
        return f"{server} sent other bytes than were signed and is not asked again; retry does."
    return Step(Trigger.RETRY, _reset(ports, boot, url, banned_origins=boot.banned_origins))


def _auto_retry(ports: Ports, boot: BootContext, *, early: bool) -> Step:
    """Retry without a person; bans and pauses of sources are kept."""
    now = ports.clock.monotonic()
    retries = boot.retries.after(_kind(boot), boot.banned_origins, early=early, now=now)
    again = replace(
        _reset(ports, boot, boot.typed_url, banned_origins=retries.banned(now)),
        deferred=for_next_attempt(boot.deferred, now),
        retries=retries,
    )
    return Step(Trigger.AUTO_RETRY, again)


def _reset(
    ports: Ports,
    boot: BootContext,
    url: str | None,
    *,
    banned_origins: frozenset[str] = frozenset(),
) -> BootContext:
    """Return the facts that outlive a new attempt.

    Refusals are dropped, because their cause may be gone; the roots and the seen versions are
    kept. The time advances by the monotonic clock, not by the system clock (SPEC). The store is
    opened again, because an attempted jump has released the Cache partition.
    """
    reckoned = max(boot.reckoned, ports.clock.monotonic())
    passed = timedelta(seconds=reckoned - boot.reckoned)
    return BootContext(
        now=boot.now + passed if boot.now else None,
        reckoned=reckoned,
        chain=boot.chain,
        seen=boot.seen,
        typed_url=url,
        banned_origins=banned_origins,
        unattended=boot.unattended,
    )


def _facts(boot: BootContext) -> tuple[tuple[str, object], ...]:
    facts, policy, link = boot.facts, boot.policy, boot.link
    return (
        ("cause", boot.failure.sentence if boot.failure else "none"),
        ("way out", WAY_OUT),
        ("machine", facts.arch if facts else "not known"),
        ("mode", facts.mode if facts else "not known"),
        ("built", facts.built.isoformat() if facts else "not known"),
        ("channel", policy.channel if policy else "not known"),
        ("link", f"{link.interface} {', '.join(link.addresses)}" if link else "none"),
        ("root", boot.chain.version if boot.chain else "not known"),
    )


HANDLER = Handler(
    state=State.SHELL,
    run=shell,
    leads=frozenset({Trigger.RETRY, Trigger.AUTO_RETRY, Trigger.LEAVE}),
    budget=None,
)
