from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from phase_boot.content.cid import raw_cid
from phase_boot.content.digest import Digest
from phase_boot.drill.sample_manifest import INITRAMFS, KERNEL, ROOTFS, document, signature
from phase_boot.provider.backends.store_backend import StoreBackend
from phase_boot.store.layout import RECORD_TYPE, entry_path, kept_record_name, record_paths
from phase_boot.trust.ipns_record import MAX_RECORD
from phase_boot.trust.strict_json import canonical
from tests.support.ipns_records import NAME, record

MANIFEST = "stable/amd64/manifest.json"
SECRET = b"what is no part of the mirror"


def entry(**changes: object) -> dict[str, object]:
    body = document(**changes)
    return {**body, "signatures": [signature(body)]}


def state(*entries: dict[str, object]) -> bytes:
    root = str(Digest.of(b"root"))
    return canonical({"schema": "phase-boot-state-v1", "root": root, "seen": list(entries)})


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Return the store of a machine that booted one version."""
    folder = tmp_path / "store"
    (folder / "cas" / "sha256").mkdir(parents=True)
    (folder / "cas" / "tmp").mkdir()
    for data in (KERNEL, INITRAMFS, ROOTFS):
        (folder / entry_path(Digest.of(data))).write_bytes(data)
    (folder / "trust").mkdir()
    (folder / "trust" / "state.json").write_bytes(state(entry()))
    (folder / "trust" / "root.2.json").write_bytes(b"{}")
    return folder


def content_of(store: Path, path: str) -> bytes | None:
    served = StoreBackend(store).open(path)
    if served is None:
        return None
    with served.file as file:
        file.seek(0)
        return file.read()


def test_a_booted_version_is_offered_with_its_signed_manifest(store: Path) -> None:
    raw = canonical(entry())
    assert content_of(store, MANIFEST) == raw
    (offer,) = StoreBackend(store).offers()
    assert (offer.channel, str(offer.arch), offer.version) == ("stable", "amd64", "2025.11.12")
    assert offer.cid == raw_cid(Digest.of(raw))
    assert content_of(store, entry_path(Digest.of(ROOTFS))) == ROOTFS
    assert content_of(store, "root/2.json") == b"{}"


@pytest.mark.parametrize("cut", [b"", ROOTFS[:-1], None])
def test_an_incomplete_version_is_not_offered_but_its_artifacts_are_served(
    store: Path, cut: bytes | None
) -> None:
    path = store / entry_path(Digest.of(ROOTFS))
    path.unlink()
    if cut is not None:
        path.write_bytes(cut)
    assert StoreBackend(store).offers() == frozenset()
    assert content_of(store, MANIFEST) is None
    assert content_of(store, entry_path(Digest.of(KERNEL))) == KERNEL


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"{}", state({"version": 1}), b"x" * 1_000_000, state() + b"\xff"]
)
def test_an_invalid_trust_state_offers_nothing_and_stops_nothing(store: Path, raw: bytes) -> None:
    (store / "trust" / "state.json").write_bytes(raw)
    assert StoreBackend(store).offers() == frozenset()
    assert content_of(store, MANIFEST) is None
    assert content_of(store, entry_path(Digest.of(KERNEL))) == KERNEL


@pytest.mark.parametrize("name", ["cas", "cas/sha256", "trust", "trust/state.json"])
def test_links_in_a_store_are_not_served(store: Path, tmp_path: Path, name: str) -> None:
    (store / name).rename(tmp_path / "moved")
    (store / name).symlink_to(tmp_path / "moved")
    assert content_of(store, MANIFEST) is None
    if name.startswith("cas"):
        assert content_of(store, entry_path(Digest.of(KERNEL))) is None


@pytest.mark.parametrize(
    "path",
    ["trust/state.json", "state.json", "root/state.json", "cas/tmp/x", "root/2.json/", "", "trust"],
)
def test_a_store_serves_only_the_mirror_layout(store: Path, path: str) -> None:
    (store / "cas" / "tmp" / "x").write_bytes(SECRET)
    assert content_of(store, path) is None


def test_of_two_versions_of_a_channel_the_complete_one_is_offered(store: Path) -> None:
    newer = entry(
        version="2026.1.1",
        artifacts={
            name: str(Digest.of(name.encode())) for name in ("kernel", "initramfs", "rootfs")
        },
    )
    (store / "trust" / "state.json").write_bytes(state(newer, entry()))
    assert {offer.version for offer in StoreBackend(store).offers()} == {"2025.11.12"}


def test_the_newest_record_that_the_machine_accepted_is_served_by_both_paths(store: Path) -> None:
    raw = record(validity=datetime.now(UTC) + timedelta(hours=1))
    assert [content_of(store, path) for path in record_paths(NAME)] == [None, None]
    (store / "trust" / kept_record_name(NAME)).write_bytes(raw)
    assert [content_of(store, path) for path in record_paths(NAME)] == [raw, raw]
    served = StoreBackend(store).open(record_paths(NAME)[0])
    assert served is not None
    assert served.content_type == RECORD_TYPE
    assert served.cache_control.startswith("public, max-age=")


def test_a_record_that_is_a_link_or_too_large_is_not_served(store: Path, tmp_path: Path) -> None:
    kept = store / "trust" / kept_record_name(NAME)
    (tmp_path / "secret").write_bytes(SECRET)
    kept.symlink_to(tmp_path / "secret")
    assert content_of(store, record_paths(NAME)[0]) is None
    kept.unlink()
    kept.write_bytes(b"x" * (MAX_RECORD + 1))
    assert content_of(store, record_paths(NAME)[0]) is None
