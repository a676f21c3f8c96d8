"""Attacks on `phase-boot fetch`: a later run uses the trust state of an earlier one."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import Any

import pytest

from phase_boot.app.edge import FAILED
from phase_boot.drill.fake_servers import FakeFetcher, FakeServer, good_server
from phase_boot.drill.sample_manifest import PUBLISHER, document, signed
from phase_boot.drill.sample_root import (
    NEW_PUBLISHER,
    channel,
    root_document,
    signed_root,
)
from policies.model import Reach
from tests.support.prefetching import FAR, MANIFEST, refusals, run_prefetch

NEW, OLD = "2025.11.13", "2025.11.12"


class Crash(BaseException):
    """The process ends without a chance to clean up."""


class CrashingFetcher(FakeFetcher):
    """FakeFetcher during whose first artifact the process ends."""

    async def stream(
        self, url: str, *, offset: int, size: int, reach: Reach, redirects: int = 0
    ) -> AsyncGenerator[bytes, None]:
        async for piece in super().stream(
            url, offset=offset, size=size, reach=reach, redirects=redirects
        ):
            yield piece
            raise Crash


def mirror(version: str, **changes: object) -> FakeServer:
    return good_server(version=version, expires=FAR, **changes)


def fetch(
    folder: Path,
    server: FakeServer,
    *,
    keys: Sequence[str] = (PUBLISHER.keyid,),
    root: Path | None = None,
    fetcher: type[FakeFetcher] = FakeFetcher,
) -> tuple[int, list[dict[str, Any]]]:
    """Run the command; return its exit status and its events."""
    trusted = {"root": root} if root else {"keys": tuple(keys)}
    return run_prefetch(folder, fetcher(mirror=server), f"http://mirror/{MANIFEST}", **trusted)


def test_rollback_below_a_version_that_was_fetched(tmp_path: Path) -> None:
    assert fetch(tmp_path, mirror(NEW))[0] == 0
    status, events = fetch(tmp_path, mirror(OLD))
    assert (status, refusals(events)) == (FAILED, ["manifest.rollback"])
    assert not any(event["event"] == "fetch.started" for event in events)
    assert fetch(tmp_path, mirror(NEW))[0] == 0


def test_rollback_after_a_crash_during_the_download(tmp_path: Path) -> None:
    with pytest.raises(Crash):
        fetch(tmp_path, mirror(NEW), fetcher=CrashingFetcher)
    status, events = fetch(tmp_path, mirror(OLD))
    assert (status, refusals(events)) == (FAILED, ["manifest.rollback"])


def test_rollback_below_a_version_that_had_expired(tmp_path: Path) -> None:
    expired = good_server(version=NEW, expires="2025-12-12T08:00:00Z")
    assert refusals(fetch(tmp_path, expired)[1]) == ["manifest.expired"]
    assert refusals(fetch(tmp_path, mirror(OLD))[1]) == ["manifest.rollback"]


def test_a_revoked_key_stays_revoked_where_the_newer_root_is_hidden(tmp_path: Path) -> None:
    root = tmp_path / "1.json"
    names = {"stable": channel(expires=FAR)}
    root.write_bytes(signed_root(root_document(channels=names)))
    new = mirror(NEW)
    new.files[MANIFEST] = signed(document(version=NEW, expires=FAR, mirrors=[]), NEW_PUBLISHER)
    renamed = {"stable": channel(NEW_PUBLISHER, expires=FAR)}
    new.files["root/2.json"] = signed_root(root_document(2, channels=renamed))
    assert fetch(tmp_path, new, root=root)[0] == 0
    status, events = fetch(tmp_path, mirror("2026"), root=root)
    assert (status, refusals(events)) == (FAILED, ["signature.untrusted"])


def test_a_state_that_was_deleted_is_reported(tmp_path: Path) -> None:
    assert fetch(tmp_path, mirror(NEW))[0] == 0
    (state,) = tmp_path.glob("store*/**/state.json")
    state.unlink()
    _, events = fetch(tmp_path, mirror(NEW))
    doubts = [event["code"] for event in events if event["event"] == "state.doubted"]
    assert doubts == ["state.missing"]
