"""Where a person can take a report with them: the stick they booted from."""

from __future__ import annotations

from typing import Protocol


class NotSaved(Exception):
    """The report is not on the stick; the sentence says why."""


class Reports(Protocol):
    """Keeps a few reports. Nobody asks for one in Private."""

    async def save(self, name: str, text: str) -> str:
        """Write ``text`` under ``name``, durably, and return where a person finds it.

        Raises:
            NotSaved: it could not be written; what was there before still is.
        """
