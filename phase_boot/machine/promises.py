"""Checks that the settings of Private and Local took effect before the network is used.

Each mode promises a property to the user. A request that had no effect would break the promise
unnoticed, so that the values are read back, and the boot ends in the Shell if one is wrong.
"""

from __future__ import annotations

import asyncio
from typing import Final

from phase_boot.journal.network_events import LinkRefused, PrivacyChecked
from phase_boot.machine.boot import BootContext, require
from phase_boot.machine.errors import NoNetwork, NotLocal, NotPrivate
from phase_boot.machine.handler import Ports
from phase_boot.machine.read_back import (
    REBOOT,
    WAY_OUT,
    identifiers,
    refused_interfaces,
    violations,
)
from phase_boot.ports.privacy import Evidence, Unreadable
from policies.model import Mode, Policy

SECONDS: Final = 30
"""Time limit of one read-back: firmware responds slowly, and may hang."""
BURNED_IN: Final = "it keeps its burned-in hardware address"


async def begin(ports: Ports, policy: Policy) -> None:
    """In Private, record the values that must be unchanged at the jump.

    Raises:
        NotPrivate: they cannot be read.
    """
    if policy.mode is not Mode.PRIVATE:
        return
    try:
        async with asyncio.timeout(SECONDS):
            await ports.privacy.begin()
    except Unreadable as failure:
        raise _not_read(str(failure)) from failure
    except TimeoutError as failure:
        raise _not_read(f"that took more than {SECONDS} seconds") from failure


async def check(ports: Ports, boot: BootContext) -> None:
    """Check every promise of the mode; in Private, report the interfaces that stay down.

    Raises:
        NotPrivate: a promise of Private is not kept, or cannot be read back.
        NotLocal: the same of Local.
    """
    mode = require(boot.policy, "a policy").mode
    if mode is Mode.LOCAL:
        await _check_local(ports)
    if mode is not Mode.PRIVATE:
        return
    evidence = await _read(ports)
    _report(ports, evidence)
    used = boot.link.interface if boot.link else None
    for sentence in violations(evidence, used=used):
        raise NotPrivate(f"Private is not kept: {sentence}")
    ports.emit(
        PrivacyChecked(
            interfaces=tuple(each.name for each in evidence.interfaces if each.up),
            identifiers=identifiers(evidence),
            variables=evidence.compared,
        )
    )


async def _check_local(ports: Ports) -> None:
    try:
        async with asyncio.timeout(SECONDS):
            routes = await ports.privacy.routes()
    except Unreadable as failure:
        raise NotLocal(f"the routes cannot be read back ({failure}); {REBOOT}") from failure
    except TimeoutError as failure:
        raise NotLocal(f"the routes were not read within {SECONDS} seconds; {REBOOT}") from failure
    if routes:
        raise NotLocal(
            f"Local is not kept: {', '.join(routes)} has a route beyond its own network; set the "
            "network up without a gateway, or choose another mode in the boot menu"
        )


async def without_network(ports: Ports, policy: Policy, failure: NoNetwork) -> NoNetwork:
    """Return the cause of a missing network: in Private it names the interfaces that stay down.

    Raises:
        NotPrivate: the interfaces cannot be read.
    """
    if policy.mode is not Mode.PRIVATE:
        return failure
    evidence = await _read(ports)
    refused = _report(ports, evidence)
    if not refused:
        return failure
    named = "; ".join(f"{name}: {cause}" for name, cause in refused.items())
    if any(each.ethernet and each.name not in refused for each in evidence.interfaces):
        return NoNetwork(f"{failure}; Private leaves out what keeps its address ({named})")
    return NoNetwork(
        "Private can use no network interface here, because each keeps its burned-in hardware "
        f"address ({named}); {WAY_OUT}"
    )


async def obstacle(ports: Ports, policy: Policy | None, interface: str) -> str | None:
    """Return the reason for which ``interface`` must not be configured, or None."""
    if policy is not None and policy.mode is not Mode.PRIVATE:
        return None
    try:
        refused = refused_interfaces(await _read(ports))
    except NotPrivate as failure:
        return str(failure)
    return f"{BURNED_IN} ({refused[interface]}); {WAY_OUT}" if interface in refused else None


def _report(ports: Ports, evidence: Evidence) -> dict[str, str]:
    """Report the interfaces that stay down, and return them, each with the cause."""
    refused = refused_interfaces(evidence)
    for name, cause in refused.items():
        reason = f"{BURNED_IN} ({cause})"
        ports.emit(LinkRefused(interface=name, reason=reason, way_out=WAY_OUT))
    return refused


async def _read(ports: Ports) -> Evidence:
    try:
        async with asyncio.timeout(SECONDS):
            return await ports.privacy.evidence()
    except Unreadable as failure:
        raise _not_read(str(failure)) from failure
    except TimeoutError as failure:
        raise _not_read(f"that took more than {SECONDS} seconds") from failure


def _not_read(why: str) -> NotPrivate:
    return NotPrivate(f"what Private promises cannot be read back ({why}); {REBOOT}")
