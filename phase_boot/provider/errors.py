"""Errors of starting a provider."""

from __future__ import annotations

from phase_boot.cli_support import CommandError


class ProvideError(CommandError):
    """One sentence with the cause and what helps."""
