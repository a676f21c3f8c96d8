"""What the journal says of what Private read back."""

from __future__ import annotations

from dataclasses import dataclass

from phase_boot.journal.event import Event


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkRefused(Event):
    """An interface stays down, because it would identify this machine in Private."""

    event = "link.refused"
    lasting = True
    interface: str
    reason: str
    way_out: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PrivacyChecked(Event):
    """Every promise of Private was read back and is met.

    `interfaces` are up with a drawn address; `identifiers` of DHCP were seen, and `variables` of
    the firmware compared.
    """

    event = "privacy.checked"
    interfaces: tuple[str, ...]
    identifiers: tuple[str, ...]
    variables: int
