"""The hand-off ladder: which ways to start an image are left, and why the others are not."""

from __future__ import annotations

from dataclasses import dataclass, replace

from phase_boot.ports.kexec import LoadRefused, Method


@dataclass(frozen=True, slots=True, kw_only=True)
class BootMethods:
    """Where the hand-off stands.

    Attributes:
        calls: the system calls still to be tried, in order.
        said: one sentence for every way that is not, or is no longer, open.
        lasting: whether every refusal so far would meet any other image on this machine too.
    """

    calls: tuple[Method, ...]
    said: tuple[str, ...] = ()
    lasting: bool = True

    def after(self, refusal: LoadRefused) -> BootMethods:
        """Return what is left when the first call has refused: it is never tried again."""
        return BootMethods(
            calls=tuple(call for call in self.calls[1:] if call != self.calls[0]),
            said=(*self.said, f"{self.calls[0]}: {refusal}"),
            lasting=self.lasting and refusal.lasting,
        )

    def without_kexec(self, why: str) -> BootMethods:
        """Return a ladder that starts with the firmware's loader."""
        return replace(self, calls=(), said=(*self.said, why))

    def __str__(self) -> str:
        return "; ".join(self.said)
