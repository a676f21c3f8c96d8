"""Errors of the publisher's commands."""

from __future__ import annotations

from phase_boot.cli_support import CommandError


class PublishError(CommandError):
    """One sentence with the cause and the way out."""


class UsageError(PublishError):
    """An argument is invalid."""

    status = 2
