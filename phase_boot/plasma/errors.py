"""Errors of Plasma."""

from __future__ import annotations

from phase_boot.publish.errors import PublishError


class PlasmaError(PublishError):
    """An operation failed; ``str`` is one sentence with the cause and the way out."""
