"""Events of Plasma on the target; `image/lab` reads them on the host of a virtual machine."""

from __future__ import annotations

from dataclasses import dataclass

from phase_boot.journal.event import Event


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeIdentified(Event):
    """The public key of this node; ``note`` says why it is a temporary one, if it is."""

    event = "plasma.node"
    node: str
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptSigned(Event):
    """A job ended; ``receipt`` is the signed receipt, as in its file."""

    event = "plasma.receipt"
    receipt: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptsUploaded(Event):
    """The provider at ``provider`` accepted all ``receipts`` receipts."""

    event = "plasma.uploaded"
    provider: str
    receipts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ProblemFound(Event):
    """A failure, as a sentence; the boot continues."""

    event = "plasma.problem"
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JobsDone(Event):
    """All ``jobs`` jobs have ended."""

    event = "plasma.done"
    jobs: int
    node: str
