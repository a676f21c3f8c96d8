"""The settings of a boot, and the adapters that differ between a stick and a dry run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from phase_boot.journal.journal import Sink
    from phase_boot.ports.kexec import Kexec
    from phase_boot.ports.loader import Loader
    from phase_boot.ports.network import Network
    from phase_boot.ports.operator import Operator
    from phase_boot.ports.privacy import Privacy
    from phase_boot.ports.reports import Reports
    from phase_boot.ports.storage import StoreOpener


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The options of the daemon's command line."""

    policy: Path | None = None
    mode: str | None = None
    url: str | None = None
    dry_run: bool = False
    unattended: bool = False
    """Retry by itself in a dry run too; in the seed the policy decides."""
    ask: bool = False
    """Ask a person before anything is tried, because earlier runs have failed."""
    store: Path | None = None
    journal: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """The adapters and settings that differ between the seed and a desktop."""

    store_opener: StoreOpener
    kexec: Kexec
    loader: Loader
    privacy: Privacy
    network: Network
    operator: Operator
    reports: Reports
    sinks: tuple[Sink, ...]
    in_seed: bool
    earlier: tuple[str, ...] = ()
    """The journal of an earlier run of this boot, which was killed."""
