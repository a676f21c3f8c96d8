"""The expected failures of a state, each with the trigger by which the machine leaves the state.

Any other exception is a bug: the driver records it as a crash and follows the fallback edge.
"""

from __future__ import annotations

from typing import ClassVar

from phase_boot.machine.graph import FALLBACK, Trigger
from phase_boot.machine.retries import Retry


class BootError(Exception):
    """A failure with a way out; its text is one sentence for a person."""

    way_out: ClassVar[Trigger]
    retry: ClassVar[Retry] = Retry.SOON
    """How it may pass, where no person mends it."""


class OutOfTime(BootError):
    """A state used up its budget."""

    way_out = FALLBACK


class AskFirst(BootError):
    """Runs before this one failed, so nothing is tried before a person was asked."""

    way_out = Trigger.GIVE_UP
    retry = Retry.LATE


class NotConfigured(BootError):
    """The policy or the machine's description cannot be used."""

    way_out = Trigger.GIVE_UP
    retry = Retry.LATE


class NoNetwork(BootError):
    """No link got an address in time."""

    way_out = Trigger.GIVE_UP


class NotPrivate(BootError):
    """A protection that Private requested did not take effect, or cannot be read back."""

    way_out = Trigger.GIVE_UP
    retry = Retry.LATE


class NotLocal(BootError):
    """A way leads beyond the LAN although Local requested none, or that cannot be read back."""

    way_out = Trigger.GIVE_UP


class NothingFound(BootError):
    """No candidate is left that has not been tried."""

    way_out = Trigger.GIVE_UP


class BehindPortal(BootError):
    """This network lets nobody out before somebody signs in."""

    way_out = Trigger.GIVE_UP


class NotEnoughMemory(BootError):
    """The image does not fit into the memory of this machine."""

    way_out = Trigger.GIVE_UP
    retry = Retry.LATE


class CannotStore(BootError):
    """There is no place left to keep a verified artifact."""

    way_out = Trigger.GIVE_UP
    retry = Retry.RARE


class NoWayToStart(BootError):
    """Neither kexec nor the firmware's loader can start anything on this machine."""

    way_out = Trigger.GIVE_UP
    retry = Retry.LATE


class KexecRefused(BootError):
    """The running kernel would not load or start the new one."""

    way_out = Trigger.NOT_LOADED


class CannotChainload(BootError):
    """There is nothing the firmware could be asked to start instead."""

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
