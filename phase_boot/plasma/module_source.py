"""Sources of job modules: the rootfs, Cache, and the mirrors of the boot."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import policies
from phase_boot.content.artifact import Artifact
from phase_boot.content.cid import Cid
from phase_boot.machine.backoff import Backoff
from phase_boot.plasma.boot_record import BootRecord
from phase_boot.plasma.runner import Missing
from phase_boot.store import errors as store
from phase_boot.store.content_store import ContentStore
from phase_boot.trust.job import Job
from policies.model import Mode, Policy, policy_from

if TYPE_CHECKING:
    from phase_boot.download import DownloadContext
    from phase_boot.ports.clock import Clock
    from phase_boot.ports.fetcher import Fetcher

LINK_SECONDS: Final = 30.0
"""Longest wait for a network address before a download."""
ATTEMPTS: Final = 3
BACKOFF: Final = Backoff(first=3, longest=12)
"""Pause between rounds of all mirrors: the interface of their network may come up late."""
SHIPPED: Final = Path(policies.__file__).parent


def policy_of(mode: Mode, signers: Sequence[str]) -> Policy:
    """Return the shipped policy of ``mode``, for its network reach and time limits.

    A policy must name trusted keys, so ``signers`` fills them in; modules are verified by hash.
    """
    import tomllib  # noqa: PLC0415 - where every module is here, this is not needed

    table = tomllib.loads((SHIPPED / f"{mode}.toml").read_text(encoding="utf-8"))
    trust: Mapping[str, object] = {"keys": list(signers), "threshold": len(signers)}
    return policy_from({**table, "trust": trust})


def context_for(
    record: BootRecord, downloads: ContentStore, *, fetcher: Fetcher, clock: Clock
) -> DownloadContext:
    """Return the dependencies of a module's download, by the policy of the boot's mode."""
    from phase_boot.download import DownloadContext  # noqa: PLC0415 - see above; slow to import

    return DownloadContext(
        clock=clock,
        fetcher=fetcher,
        store=downloads,
        policy=policy_of(record.mode, record.signers),
        banned=set(),
        emit=lambda _event: None,
    )


def _fetched(
    record: BootRecord, module: Artifact, downloads: ContentStore, dags: Mapping[str, Cid]
) -> bytes:
    import asyncio  # noqa: PLC0415 - see above

    return asyncio.run(_fetch(record, module, downloads, dags))


async def _fetch(
    record: BootRecord, module: Artifact, downloads: ContentStore, dags: Mapping[str, Cid]
) -> bytes:
    from phase_boot.adapters.http.fetcher import HttpFetcher  # noqa: PLC0415 - see above
    from phase_boot.adapters.net.address_watch import AddressWatch  # noqa: PLC0415
    from phase_boot.adapters.system.system_clock import SystemClock  # noqa: PLC0415
    from phase_boot.download import (  # noqa: PLC0415
        ArtifactUnavailable,
        Sources,
        fetch_artifact,
    )
    from phase_boot.machine.errors import NoNetwork  # noqa: PLC0415

    http = HttpFetcher()
    context = context_for(record, downloads, fetcher=http, clock=SystemClock())
    sources, root = Sources(mirrors=record.sources), dags.get(module.name)
    try:
        await AddressWatch().link(LINK_SECONDS)
        for attempt in range(1, ATTEMPTS):
            with suppress(ArtifactUnavailable):
                found, _ = await fetch_artifact(context, sources, module, root)
                break
            await context.clock.sleep(BACKOFF.pause(attempt, context.chance()))
        else:
            found, _ = await fetch_artifact(context, sources, module, root)
    except (NoNetwork, ArtifactUnavailable, store.StoreError) as failure:
        raise Missing(str(failure)) from failure
    finally:
        await http.close()
    with found:
        return found.read(module.size)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleSource:
    """The sources of modules.

    Attributes:
        stores: local stores: of the rootfs, Cache, and earlier downloads.
        downloads: the store for downloaded modules.
        record: the boot, which names the mirrors.
        fetch: downloads a module.
    """

    stores: Sequence[ContentStore]
    downloads: ContentStore
    record: BootRecord
    fetch: Callable[[BootRecord, Artifact, ContentStore, Mapping[str, Cid]], bytes] = _fetched

    def module_of(self, job: Job) -> bytes:
        """Return the module of ``job``, verified by its hash.

        Raises:
            Missing: no source has it.
        """
        module = Artifact("module", job.module, job.size)
        reasons = []
        for local in self.stores:
            try:
                with local.open(module) as found:
                    return found.read(job.size)
            except store.NotStored:
                continue
            except store.StoreError as failure:
                reasons.append(str(failure))
        if self.record.private:
            reasons.append("its module is not in the rootfs, and Private mode downloads none")
        elif not self.record.sources:
            reasons.append("its module is in no local store, and no mirror is known")
        else:
            dags = {} if job.cid is None else {module.name: job.cid}
            return self.fetch(self.record, module, self.downloads, dags)
        raise Missing("; ".join(reasons))
