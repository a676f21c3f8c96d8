"""The methods by which an image may be started, in order: kexec's system calls, then the firmware.

Each method that fails is recorded with its reason, so that the Shell can name all of them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from phase_boot.ports.kexec import LoadRefused, Method


@dataclass(frozen=True, slots=True, kw_only=True)
class BootMethods:
    """The state of the hand-off.

    Attributes:
        remaining: the system calls that are still to be tried, in order; without any, the
            firmware's loader is next.
        reasons: one sentence for each method that is not available, or that failed.
        lasting: whether every refusal so far would apply to any other image on this machine too.
    """

    remaining: tuple[Method, ...]
    reasons: tuple[str, ...] = ()
    lasting: bool = True

    def after(self, refusal: LoadRefused) -> BootMethods:
        """Return the methods that are left after the first one failed: it is never tried again."""
        failed = self.remaining[0]
        return BootMethods(
            remaining=tuple(method for method in self.remaining[1:] if method != failed),
            reasons=(*self.reasons, f"{failed}: {refusal}"),
            lasting=self.lasting and refusal.lasting,
        )

    def without_kexec(self, reason: str) -> BootMethods:
        """Return only the firmware's loader; ``reason`` is why kexec is not tried."""
        return replace(self, remaining=(), reasons=(*self.reasons, reason))

    def __str__(self) -> str:
        return "; ".join(self.reasons)
