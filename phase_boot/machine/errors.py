"""The expected failures of a state, each with the trigger by which the machine leaves the state.

Any other exception is a bug: the driver records it as a crash and follows the fallback edge.
"""

from __future__ import annotations

from typing import ClassVar

from phase_boot.machine.graph import FALLBACK, Trigger
from phase_boot.machine.retries import Retry


class BootError(Exception):
    """A failure with a way out; the text is one sentence for a person."""

    way_out: ClassVar[Trigger]
    retry: ClassVar[Retry] = Retry.SOON
    """When an automatic retry is worthwhile."""


class OutOfTime(BootError):
    """A state exceeded its time budget."""

    way_out = FALLBACK


class AskFirst(BootError):
    """Earlier runs of the daemon failed, so that a person is asked before anything is tried."""

    way_out = Trigger.GIVE_UP
    retry = Retry.LATE


class NotConfigured(BootError):
    """The policy or the facts of the machine are invalid."""

    way_out = Trigger.GIVE_UP
    retry = Retry.LATE


class NoNetwork(BootError):
    """No link got an address in time."""

    way_out = Trigger.GIVE_UP


class NotPrivate(BootError):
    """A setting of Private mode did not take effect, or cannot be read back."""

    way_out = Trigger.GIVE_UP
    retry = Retry.LATE


class NotLocal(BootError):
    """In Local mode there is a route beyond the LAN, or the routes cannot be read back."""

    way_out = Trigger.GIVE_UP


class NothingFound(BootError):
    """No untried candidate is left."""

    way_out = Trigger.GIVE_UP


class BehindPortal(BootError):
    """A captive portal blocks this network until a person signs in."""

    way_out = Trigger.GIVE_UP


class NotEnoughMemory(BootError):
    """The memory of this machine is too small for the image."""

    way_out = Trigger.GIVE_UP
    retry = Retry.LATE


class CannotStore(BootError):
    """No store has room for a verified artifact."""

    way_out = Trigger.GIVE_UP
    retry = Retry.RARE


class NoWayToStart(BootError):
    """Neither kexec nor the firmware's loader can start an image on this machine."""

    way_out = Trigger.GIVE_UP
    retry = Retry.LATE


class KexecRefused(BootError):
    """The running kernel refused to load or to start the new one."""

    way_out = Trigger.NOT_LOADED


class CannotChainload(BootError):
    """No image can be staged for the firmware."""

    way_out = Trigger.GIVE_UP
    retry = Retry.RARE


def route(error: BaseException, drawn: frozenset[Trigger]) -> Trigger:
    """Return the way out of ``error`` if it is one of the ``drawn`` triggers, else the fallback.

    This is the only reader of `BootError.way_out` at run time. Any other exception takes the
    fallback too.
    """
    if isinstance(error, BootError) and error.way_out in drawn:
        return error.way_out
    return FALLBACK
