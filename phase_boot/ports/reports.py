"""Port by which a report of the boot is saved on the stick, to be read on another machine."""

from __future__ import annotations

from typing import Protocol


class NotSaved(Exception):
    """The report was not saved; the text is the reason."""


class Reports(Protocol):
    """Keeps the latest reports. In Private mode it is not called."""

    async def save(self, name: str, text: str) -> str:
        """Write ``text`` under ``name``, durably, and return the path on the stick.

        Raises:
            NotSaved: it could not be written; earlier reports are unchanged.
        """
