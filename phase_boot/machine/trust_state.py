"""The trust state on the stick: the roots that were followed, and the versions that were seen.

The files are untrusted: a stored root is verified like one from the network, and a seen version
counts by its publisher's signatures (`phase_boot.trust.rollback`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from phase_boot.ports.state_files import StateFiles
from phase_boot.ports.storage import OpenStore
from phase_boot.store.errors import StoreError
from phase_boot.trust.chain import Chain
from phase_boot.trust.refusals import (
    Refusal,
    StateMissing,
    StateUnreadable,
    StoredRootRefused,
)
from phase_boot.trust.rollback import MAX_STATE_BYTES, RollbackState, read_state, write_state
from phase_boot.trust.strict_json import MAX_BYTES

STATE: Final = "state.json"


@dataclass(frozen=True, slots=True)
class TrustState:
    """The valid part of the stored state, and the reason for each part that is invalid."""

    chain: Chain
    seen: RollbackState
    doubts: tuple[Refusal, ...]


def load_trust_state(store: OpenStore, chain: Chain) -> TrustState:
    """Read the roots and the state of ``store``. It never fails: invalid parts become doubts."""
    longer, doubts = _roots(store.state_files, chain)
    seen, reasons = _seen(store, longer)
    return TrustState(longer, seen, (*doubts, *reasons))


def keep_root(state_files: StateFiles, version: int, raw: bytes) -> None:
    """Store a root that was followed; raise StoreError if the disk failed."""
    _keep(state_files, _root_name(version), raw)


def keep_seen(state_files: StateFiles, seen: RollbackState, chain: Chain) -> None:
    """Store the versions that were seen; raise StoreError if the disk failed."""
    _keep(state_files, STATE, write_state(seen, chain))


def _keep(state_files: StateFiles, name: str, data: bytes) -> None:
    """Write a file unless it has this content: thousands of attempts must not wear out a stick."""
    try:
        if state_files.read(name, limit=len(data)) == data:
            return
    except StoreError:
        # A file that cannot be read may still be replaced.
        pass
    state_files.write(name, data)


def _roots(state_files: StateFiles, chain: Chain) -> tuple[Chain, tuple[Refusal, ...]]:
    while (version := chain.next_version) is not None:
        try:
            raw = state_files.read(_root_name(version), limit=MAX_BYTES)
            if raw is None:
                break
            chain = chain.extended(raw)
        except StoreError as failure:
            return chain, (StoredRootRefused(version=version, reason=failure),)
        except Refusal as refusal:
            return chain, (StoredRootRefused(version=version, reason=refusal.code),)
    return chain, ()


def _seen(store: OpenStore, chain: Chain) -> tuple[RollbackState, tuple[Refusal, ...]]:
    try:
        raw = store.state_files.read(STATE, limit=MAX_STATE_BYTES)
        if raw is not None:
            return read_state(raw, chain)
        # The state is written before the first artifact is fetched.
        used = bool(chain.later) or not store.cas.is_empty()
    except StoreError as failure:
        return RollbackState(), (StateUnreadable(reason=failure),)
    return RollbackState(), (StateMissing(),) if used else ()


def _root_name(version: int) -> str:
    return f"root.{version}.json"
