"""A provider serves the IPNS records of its SITE as they are, by the paths of two protocols."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from phase_boot.announce.site_record import announce_site
from phase_boot.store.layout import RECORD_TYPE, record_paths
from phase_boot.trust.ipns_record import MAX_RECORD
from tests.support.announced_site import make_announced_site, stored, terms
from tests.support.ipns_records import ANNOUNCING_KEY, NAME, OTHER_KEY, record
from tests.support.provider import Answer, ask, post, running

ROUTING, GATEWAY = (f"/{path}" for path in record_paths(NAME))
BY_FORMAT = f"{GATEWAY}?format=ipns-record"


@pytest.fixture
def site(tmp_path: Path) -> Path:
    root = make_announced_site(tmp_path)
    announce_site(root, ANNOUNCING_KEY, terms())
    return root


def plant(site: Path, raw: bytes) -> None:
    for path in record_paths(NAME):
        (site / path).write_bytes(raw)


async def asked(site: Path, path: str, method: str = "GET", **headers: str) -> Answer:
    async with running(site) as provider:
        return await ask(provider.port, path, method, **headers)


@pytest.mark.parametrize("path", [ROUTING, BY_FORMAT])
async def test_a_record_is_served_with_its_type_and_its_ttl(site: Path, path: str) -> None:
    answer = await asked(site, path)
    assert (answer.status, answer.body) == (200, stored(site).raw)
    assert answer.headers["Content-Type"] == RECORD_TYPE
    assert answer.headers["Cache-Control"] == "public, max-age=300"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("path", [ROUTING, BY_FORMAT])
async def test_head_has_the_headers_alone(site: Path, path: str) -> None:
    answer = await asked(site, path, "HEAD")
    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["Content-Length"] == str(len(stored(site).raw))
    assert answer.headers["Content-Type"] == RECORD_TYPE


@pytest.mark.parametrize(
    ("accept", "status"),
    [
        (RECORD_TYPE, 200),
        (f"text/html, {RECORD_TYPE};q=0.5", 200),
        (f"{RECORD_TYPE};q=0", 406),
        ("text/html, */*", 406),
        ("x" * 5000 + f",{RECORD_TYPE}", 406),
        ("", 406),
    ],
)
async def test_a_gateway_request_names_the_record_by_the_accept_header(
    site: Path, accept: str, status: int
) -> None:
    answer = await asked(site, GATEWAY, Accept=accept)
    assert answer.status == status
    assert (answer.body == stored(site).raw) is (status == 200)


async def test_another_format_of_a_name_is_not_served(site: Path) -> None:
    assert (await asked(site, f"{GATEWAY}?format=car", Accept=RECORD_TYPE)).status == 406


async def test_the_time_in_a_cache_ends_with_the_validity(site: Path) -> None:
    plant(site, record(validity=datetime.now(UTC) + timedelta(seconds=100)))
    field = (await asked(site, ROUTING)).headers["Cache-Control"]
    assert 90 <= int(field.removeprefix("public, max-age=")) < 100


@pytest.mark.parametrize(
    "raw",
    [
        record(validity=datetime(2025, 1, 1, tzinfo=UTC)),
        record(OTHER_KEY, validity=datetime.now(UTC) + timedelta(hours=1)),
        b"",
        b"x" * MAX_RECORD,
    ],
    ids=["expired", "another key", "empty", "no record"],
)
async def test_a_record_that_no_client_accepts_is_served_and_never_cached(
    site: Path, raw: bytes
) -> None:
    plant(site, raw)
    answer = await asked(site, ROUTING)
    assert (answer.status, answer.body) == (200, raw)
    assert answer.headers["Cache-Control"] == "no-cache"


async def test_a_file_that_is_larger_than_any_record_is_not_served(site: Path) -> None:
    plant(site, b"x" * (MAX_RECORD + 1))
    assert (await asked(site, ROUTING)).status == 404


async def test_a_new_record_is_served_at_once_under_another_tag(site: Path) -> None:
    async with running(site) as provider:
        first = await ask(provider.port, ROUTING)
        same = await ask(provider.port, ROUTING, If_None_Match=first.headers["ETag"])
        announce_site(site, ANNOUNCING_KEY, terms())
        second = await ask(provider.port, ROUTING, If_None_Match=first.headers["ETag"])
    assert (first.status, same.status, second.status) == (200, 304, 200)
    assert second.body == stored(site).raw != first.body


@pytest.mark.parametrize(
    "path",
    [
        "/routing/v1/ipns/",
        f"/routing/v1/ipns/{NAME}/",
        f"/routing/v1/ipns//{NAME}",
        f"/routing/v1/{NAME}",
        f"/routing/v1/ipns/{str(NAME).upper()}",
        f"/routing/v1/ipns/%6b{str(NAME)[1:]}",
        "/routing/v1/ipns/../../stable/amd64/manifest.json",
        "/routing/v1/ipns/secret",
        f"/ipns/{NAME}/stable/amd64/manifest.json?format=ipns-record",
        "/ipns/secret?format=ipns-record",
        "/ipns/example.org?format=ipns-record",
        f"/routing/v1/providers/{NAME}",
    ],
)
async def test_only_the_one_spelling_of_a_name_is_answered(site: Path, path: str) -> None:
    for folder in ("ipns", "routing/v1/ipns"):
        (site / folder / "secret").write_bytes(b"secret")
    answer = await asked(site, path)
    assert answer.status == 404
    assert b"secret" not in answer.body


async def test_a_name_without_a_record_is_404(site: Path) -> None:
    for path in record_paths(NAME):
        (site / path).unlink()
    assert [(await asked(site, path)).status for path in (ROUTING, BY_FORMAT)] == [404, 404]


async def test_a_link_in_place_of_a_record_or_its_folder_is_not_followed(
    site: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    (site / "ipns").rename(outside)
    (site / "ipns").symlink_to(outside)
    (site / ROUTING[1:]).unlink()
    (site / ROUTING[1:]).symlink_to(outside / str(NAME))
    assert [(await asked(site, path)).status for path in (ROUTING, BY_FORMAT)] == [404, 404]


async def test_nobody_can_put_a_record(site: Path) -> None:
    before = stored(site)
    async with running(site) as provider:
        answer = await post(provider.port, ROUTING, record(OTHER_KEY), method="PUT")
    assert answer.status == 405
    assert stored(site) == before
