"""What a publisher is told when something cannot be done."""

from __future__ import annotations

from typing import ClassVar


class PublishError(Exception):
    """One sentence with the cause and what helps; ``status`` is the command's exit status."""

    status: ClassVar[int] = 1


class UsageError(PublishError):
    """An argument cannot be read."""

    status = 2
