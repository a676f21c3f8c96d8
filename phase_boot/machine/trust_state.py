"""The trust state on the stick: the roots that were followed, and the versions that were seen.

The files are untrusted: a stored root is verified like one from the network, and a seen version
counts by its publisher's signatures (`phase_boot.trust.rollback`), and an IPNS record by that of
its announcing key.

`UpdateSession` gives the trust update workflow the documents of one source, and stores its result.
Verify and `phase-boot fetch` share it. They differ in how a document is requested (once, or with
retries) and in the effect of a disk failure, so both are parameters.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from phase_boot.content.arch import Arch
from phase_boot.journal.content_events import RootFollowed
from phase_boot.journal.event import Event
from phase_boot.journal.network_events import DocumentRedirected
from phase_boot.ports.fetcher import Fetcher, FetchFailed
from phase_boot.ports.state_files import StateFiles
from phase_boot.ports.storage import OpenStore
from phase_boot.store.errors import StoreError
from phase_boot.store.layout import kept_record_name, root_path
from phase_boot.trust.chain import Chain
from phase_boot.trust.client import Updater
from phase_boot.trust.ipns_name import IpnsName
from phase_boot.trust.ipns_record import MAX_RECORD, IpnsRecord, read_record
from phase_boot.trust.refusals import (
    Refusal,
    StateMissing,
    StateUnreadable,
    StoredRootRefused,
)
from phase_boot.trust.rollback import MAX_STATE_BYTES, RollbackState, read_state, write_state
from phase_boot.trust.strict_json import MAX_BYTES
from phase_boot.trust.verify import BootRequirements
from phase_boot.url import below
from policies.model import Network, Policy

STATE: Final = "state.json"


@dataclass(frozen=True, slots=True)
class TrustState:
    """The valid part of the stored state, and the reason for each part that is invalid."""

    chain: Chain
    seen: RollbackState
    doubts: tuple[Refusal, ...]
    records: tuple[IpnsRecord, ...] = ()
    """The newest IPNS record of each announcing key of the newest root; expired ones count too."""


def load_trust_state(store: OpenStore, chain: Chain) -> TrustState:
    """Read the roots and the state of ``store``. It never fails: invalid parts become doubts."""
    longer, doubts = _roots(store.state_files, chain)
    seen, reasons = _seen(store, longer)
    records = tuple(
        record
        for keyid in longer.announcers
        if (record := _stored_record(store.state_files, IpnsName(keyid))) is not None
    )
    return TrustState(longer, seen, (*doubts, *reasons), records)


def keep_root(state_files: StateFiles, version: int, raw: bytes) -> None:
    """Store a root that was followed; raise StoreError if the disk failed."""
    with state_files.exclusive():
        _keep(state_files, _root_name(version), raw)


def keep_seen(state_files: StateFiles, seen: RollbackState, chain: Chain) -> None:
    """Store the versions that were seen; raise StoreError if the disk failed.

    Another process that uses the same store may have seen a higher version meanwhile: it stays.
    """
    with state_files.exclusive():
        for known in _stored(state_files, chain).manifests:
            seen = seen.including(known)
        _keep(state_files, STATE, write_state(seen, chain))


def keep_record(state_files: StateFiles, record: IpnsRecord) -> None:
    """Store the newest IPNS record of its name; raise StoreError if the disk failed.

    A newer one that another process stored meanwhile stays.
    """
    with state_files.exclusive():
        known = _stored_record(state_files, record.name)
        if known is None or record.newer_than(known):
            state_files.write(kept_record_name(record.name), record.raw)


def _stored_record(state_files: StateFiles, name: IpnsName) -> IpnsRecord | None:
    """Return the stored record of a name; None if there is none that its key signed."""
    try:
        raw = state_files.read(kept_record_name(name), limit=MAX_RECORD)
        return None if raw is None else read_record(raw, name)
    except (StoreError, Refusal):
        # A writer of the stick can remove the file too, so a damaged one is no evidence.
        return None


def _stored(state_files: StateFiles, chain: Chain) -> RollbackState:
    """Return the part of the stored state that counts under ``chain``."""
    try:
        raw = state_files.read(STATE, limit=MAX_STATE_BYTES)
    except StoreError:
        return RollbackState()
    return RollbackState() if raw is None else read_state(raw, chain)[0]


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


Read = Callable[[str], Awaitable[bytes]]
"""Returns the document at a URL; raises `FetchFailed`."""
Keep = Callable[[Callable[[StateFiles], None]], Awaitable[None]]
"""Calls a function that writes files of the trust state, in a thread."""


def requirements_of(policy: Policy, arch: Arch) -> BootRequirements:
    """Return the manifests that ``policy`` permits on a machine of ``arch``."""
    return BootRequirements(arch=arch, channel=policy.channel, min_version=policy.min_version)


def single_request(fetcher: Fetcher, network: Network, emit: Callable[[Event], None]) -> Read:
    """Return a function that requests a document once, within the limits of ``network``."""

    async def read(url: str) -> bytes:
        return await fetcher.read(
            url,
            limit=MAX_BYTES,
            reach=network.reach,
            redirects=network.redirects,
            on_redirect=lambda target: emit(DocumentRedirected(url=url, target=target)),
        )

    return read


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateSession:
    """Implements `trust.client.UpdateIO`.

    Attributes:
        manifest_url: URL of the source's manifest.
        document: the manifest, where the source sent it already.
        base: URL below which the source has roots; None if it has none.
    """

    updater: Updater
    requirements: BootRequirements
    manifest_url: str
    base: str | None
    read: Read
    keep: Keep
    emit: Callable[[Event], None]
    document: bytes | None = None

    async def root(self, version: int) -> bytes | None:
        """Return a root; raise FetchFailed where the source may have it later."""
        if self.base is None:
            return None
        try:
            return await self.read(below(self.base, root_path(version)))
        except FetchFailed as failure:
            if failure.retryable:
                raise
            return None

    async def manifest(self) -> bytes:
        """Return the manifest."""
        return self.document or await self.read(self.manifest_url)

    async def keep_root(self, version: int, raw: bytes) -> None:
        """Report a root that was followed, and store it."""
        found = self.updater.seen.floor(self.requirements.channel, self.requirements.arch)
        url = below(self.base or "", root_path(version))
        self.emit(RootFollowed(version=version, url=url, seen=str(found) if found else None))
        await self.keep(partial(keep_root, version=version, raw=raw))

    async def keep_state(self) -> None:
        """Store the rollback state as it is when the file is written."""
        await self.keep(self._write_state)

    def _write_state(self, state_files: StateFiles) -> None:
        keep_seen(state_files, self.updater.seen, self.updater.chain)
