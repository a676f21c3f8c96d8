"""What a person is told when something of Plasma cannot be done."""

from __future__ import annotations

from phase_boot.publish.errors import PublishError


class PlasmaError(PublishError):
    """One sentence with the cause and what helps."""
