"""Events of redirects."""

from __future__ import annotations

from dataclasses import dataclass

from phase_boot.journal.event import Event


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentRedirected(Event):
    """A document that was asked for at `url` came from another host, by the redirect `target`."""

    event = "document.redirected"
    url: str
    target: str
