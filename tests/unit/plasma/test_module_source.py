"""The sources of a job's module."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from phase_boot.adapters.storage.posix_disk import PosixDisk
from phase_boot.content.artifact import Artifact
from phase_boot.content.cid import Cid
from phase_boot.content.dag_builder import build_dag
from phase_boot.content.digest import Digest
from phase_boot.download import Sources, fetch_artifact
from phase_boot.drill import virtual_time
from phase_boot.drill.fake_servers import FakeFetcher
from phase_boot.drill.sample_manifest import PUBLISHER
from phase_boot.drill.virtual_time import VirtualClock
from phase_boot.plasma.boot_record import BootRecord
from phase_boot.plasma.module_source import ModuleSource, context_for, policy_of
from phase_boot.plasma.runner import Missing
from phase_boot.store.content_store import ContentStore
from phase_boot.store.layout import entry_path
from phase_boot.trust.manifest import Manifest
from policies.model import Mode, Reach
from tests.support.artifacts import content
from tests.support.dags import car_of
from tests.support.downloads import chunked, data_of, server_of
from tests.support.handed_over import PROVIDER_URL, RUNNING, handed_over
from tests.support.receipts import MODULE, job

HANDED = BootRecord.of(handed_over(sources={"rootfs": PROVIDER_URL}), RUNNING)

Dags = Mapping[str, Cid]


def nobody(_handed: BootRecord, _module: Artifact, _keep: ContentStore, _dags: Dags) -> bytes:
    raise AssertionError


def store_with(folder: Path, content: bytes | None = None) -> ContentStore:
    if content is not None:
        entries = folder / "sha256"
        entries.mkdir(parents=True)
        (entries / Digest.of(MODULE).hex).write_bytes(content)
    return ContentStore(PosixDisk(folder), bound=1 << 20)


def test_a_module_is_read_from_the_first_store_that_has_it(tmp_path: Path) -> None:
    empty, full = store_with(tmp_path / "empty"), store_with(tmp_path / "full", MODULE)
    supply = ModuleSource(stores=(empty, full), downloads=empty, record=HANDED, fetch=nobody)
    assert supply.module_of(job()) == MODULE


def test_a_module_in_no_store_is_downloaded_from_the_sources_of_the_boot(tmp_path: Path) -> None:
    def fetch(record: BootRecord, module: Artifact, downloads: ContentStore, dags: Dags) -> bytes:
        assert not dags
        assert record.sources[0] == PROVIDER_URL
        assert (module.digest, module.size) == (Digest.of(MODULE), len(MODULE))
        assert downloads is empty
        return MODULE

    empty = store_with(tmp_path)
    supply = ModuleSource(stores=(empty,), downloads=empty, record=HANDED, fetch=fetch)
    assert supply.module_of(job()) == MODULE


def test_a_module_with_a_cid_is_downloaded_in_chunks_from_all_sources(tmp_path: Path) -> None:
    data = data_of(400_000)
    tree = build_dag(chunked(data))
    fetcher = FakeFetcher(a=server_of(data), b=server_of(data))
    fetcher.servers["http://a"].files[f"dag/{tree.root}.car"] = car_of(tree)
    store = store_with(tmp_path)

    def fetch(record: BootRecord, module: Artifact, downloads: ContentStore, dags: Dags) -> bytes:
        asked = replace(
            record, providers=tuple(fetcher.servers), manifest=unmirrored(record.manifest)
        )
        context = context_for(asked, downloads, fetcher=fetcher, clock=VirtualClock())
        sources, root = Sources(mirrors=asked.sources), dags.get(module.name)
        fetched, _ = virtual_time.run(fetch_artifact(context, sources, module, root))
        return content(fetched)

    supply = ModuleSource(stores=(), downloads=store, record=HANDED, fetch=fetch)
    named = job(module=str(Digest.of(data)), size=len(data), cid=str(tree.root))
    assert supply.module_of(named) == data
    assert all(
        f"{base}/{entry_path(Digest.of(data))}" in {url for url, _, _ in fetcher.spans}
        for base in fetcher.servers
    )


def unmirrored(manifest: Manifest) -> Manifest:
    return replace(manifest, mirrors=())


def test_a_tampered_store_is_skipped(tmp_path: Path) -> None:
    bad = store_with(tmp_path / "bad", b"\1" * len(MODULE))
    supply = ModuleSource(stores=(bad,), downloads=bad, record=HANDED, fetch=lambda *_: MODULE)
    assert supply.module_of(job()) == MODULE


def test_without_a_mirror_the_reason_is_named(tmp_path: Path) -> None:
    empty = store_with(tmp_path)
    alone = BootRecord.of(handed_over(mirrors=None), RUNNING)
    supply = ModuleSource(stores=(empty,), downloads=empty, record=alone, fetch=nobody)
    with pytest.raises(Missing, match="no mirror is known"):
        supply.module_of(job())


def test_in_private_mode_no_mirror_is_contacted(tmp_path: Path) -> None:
    empty = store_with(tmp_path)
    private = replace(HANDED, mode=Mode.PRIVATE)
    supply = ModuleSource(stores=(empty,), downloads=empty, record=private, fetch=nobody)
    with pytest.raises(Missing, match="Private mode downloads none"):
        supply.module_of(job())


@pytest.mark.parametrize(
    ("mode", "reach"), [(Mode.INTERNET, Reach.INTERNET), (Mode.LOCAL, Reach.LAN)]
)
def test_a_module_is_downloaded_only_within_the_reach_of_the_boot(mode: Mode, reach: Reach) -> None:
    assert policy_of(mode, (PUBLISHER.keyid,)).network.reach is reach
