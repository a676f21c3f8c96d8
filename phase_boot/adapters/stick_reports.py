"""Reports on the EFI system partition of the stick, where any computer can read them."""

from __future__ import annotations

from phase_boot.ports.reports import NotSaved


class NoStick:
    """Implements `ports.reports.Reports` on a desktop, where there is no stick to write to."""

    async def save(self, name: str, text: str) -> str:
        """Refuse."""
        raise NotSaved(f"{name} was not started from a stick that {len(text)} bytes could go to")
