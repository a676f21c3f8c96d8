"""Attacks on `phase-boot fetch ipns://NAME`: its record, the places it names, and its folder."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from phase_boot.app import prefetch_manifest
from phase_boot.app.edge import FAILED, USAGE
from phase_boot.app.prefetch import prefetch
from phase_boot.app.prefetch_plan import PrefetchRequest, plan_of
from phase_boot.download.health import HEDGE_SECONDS
from phase_boot.drill.fake_servers import FakeFetcher, FakeServer, good_server
from phase_boot.drill.sample_manifest import UNTRUSTED_KEY
from phase_boot.drill.sample_record import ANNOUNCER, MANIFEST_CID, announcement, record
from phase_boot.drill.sample_root import channel, root_document, signed_root
from phase_boot.store.errors import StoreError
from phase_boot.trust.ipns_name import IpnsName
from phase_boot.trust.keys import SigningKey
from tests.support.prefetching import FAR, MANIFEST, refusals, run_prefetch

NAME = IpnsName(ANNOUNCER.keyid)
URL = f"ipns://{NAME}/{MANIFEST}"
RECORD = f"routing/v1/ipns/{NAME}"
ROUTER, GATEWAY = "http://router", "http://gateway"
NEW, OLD = "2025.11.13", "2025.11.12"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = tmp_path / "1.json"
    names = {"stable": channel(expires=FAR)}
    path.write_bytes(signed_root(root_document(channels=names, announcers=[ANNOUNCER.keyid])))
    return path


def current(*, key: SigningKey = ANNOUNCER, sequence: int = 7, **changes: Any) -> bytes:
    validity = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=48)
    return record(key=key, sequence=sequence, validity=validity, **changes)


def mirror(version: str = NEW) -> FakeServer:
    return good_server(version=version, expires=FAR)


def of(events: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    return [event for event in events if event["event"] == name]


def stored(folder: Path) -> list[Path]:
    return list((folder / "store").glob("cas/sha256/*"))


def fetch(
    folder: Path, root: Path, url: str = URL, **servers: FakeServer
) -> tuple[int, list[dict[str, Any]]]:
    named = {
        "routers": (ROUTER,) if "router" in servers else (),
        "gateways": (GATEWAY,) if "gateway" in servers else (),
    }
    return run_prefetch(folder, FakeFetcher(**servers), url, root=root, **named)


@pytest.mark.parametrize("url", [URL, f"/ipns/{NAME}/{MANIFEST}"])
def test_a_name_leads_by_its_record_to_the_mirror(tmp_path: Path, root: Path, url: str) -> None:
    router = FakeServer({RECORD: current()})
    status, events = fetch(tmp_path, root, url, router=router, mirror=mirror())
    assert status == 0
    (verified,) = of(events, "manifest.verified")
    assert verified["url"] == f"http://mirror/{MANIFEST}"
    assert len(stored(tmp_path)) == 3
    (kept,) = (tmp_path / "store").rglob("*.ipns-record")
    assert kept.name.startswith(str(NAME))


def test_an_older_record_is_not_accepted_by_a_later_run(tmp_path: Path, root: Path) -> None:
    newer = FakeServer({RECORD: current(sequence=9)})
    assert fetch(tmp_path, root, router=newer, mirror=mirror())[0] == 0
    older = FakeServer({RECORD: current(sequence=8)})
    status, events = fetch(tmp_path, root, router=older, mirror=mirror())
    assert status == FAILED
    assert of(events, "candidate.found") == []


def test_a_record_of_another_key_leads_nowhere(
    tmp_path: Path, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    router = FakeServer({RECORD: current(key=UNTRUSTED_KEY)})
    status, events = fetch(tmp_path, root, router=router, mirror=mirror())
    assert status == FAILED
    assert of(events, "candidate.found") == []
    assert f"No record of {NAME} names stable for amd64" in capsys.readouterr().err
    assert stored(tmp_path) == []


def test_a_thief_of_the_announcing_key_cannot_roll_back(tmp_path: Path, root: Path) -> None:
    router = FakeServer({RECORD: current()})
    assert fetch(tmp_path, root, router=router, mirror=mirror(NEW))[0] == 0
    later = FakeServer({RECORD: current(sequence=10)})
    status, events = fetch(tmp_path, root, router=later, mirror=mirror(OLD))
    assert (status, refusals(events)) == (FAILED, ["manifest.rollback"])


def test_a_place_that_hangs_is_passed_by(tmp_path: Path, root: Path) -> None:
    places = announcement(mirrors=(f"http://slow/{MANIFEST}", f"http://mirror/{MANIFEST}"))
    router = FakeServer({RECORD: current(announcement=places)})
    slow = mirror()
    slow.hangs = True
    status, events = fetch(tmp_path, root, router=router, slow=slow, mirror=mirror())
    assert status == 0
    (verified,) = of(events, "manifest.verified")
    assert verified["url"] == f"http://mirror/{MANIFEST}"


def test_no_peer_is_asked_for_the_manifest_beside_a_slow_mirror(tmp_path: Path, root: Path) -> None:
    # A peer of the record that refuses each connection.
    peer = "/ip4/127.0.0.1/tcp/1/p2p/12D3KooWDWYeMPHWyqRmoFT5mhwfcgAuB5eWPXJ5wFS5B9TEM23V"
    places = announcement(mirrors=(f"http://mirror/{MANIFEST}",), providers=(peer,))
    router = FakeServer({RECORD: current(announcement=places)})
    slow = mirror()
    slow.piece_seconds = 2 * HEDGE_SECONDS
    slow.quick = frozenset(path for path in slow.files if path.startswith(("cas/", "dag/")))
    status, events = fetch(tmp_path, root, router=router, mirror=slow)
    assert status == 0
    assert [event["url"] for event in of(events, "candidate.found")] == [
        f"http://mirror/{MANIFEST}"
    ]


def test_a_record_that_the_store_cannot_keep_ends_the_command(
    tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        monkeypatch.undo()
        raise StoreError("The store is full.")

    monkeypatch.setattr(prefetch_manifest, "keep_record", full)
    router = FakeServer({RECORD: current()})
    gateway = FakeServer({f"ipfs/{MANIFEST_CID}": mirror().files[MANIFEST]})
    status, events = fetch(tmp_path, root, router=router, gateway=gateway, mirror=mirror())
    assert status == FAILED
    assert of(events, "manifest.verified") == of(events, "record.accepted") == []


def test_the_path_below_a_name_gives_the_channel(tmp_path: Path) -> None:
    root = tmp_path / "1.json"
    channels = {"beta": channel(expires=FAR)}
    root.write_bytes(signed_root(root_document(channels=channels, announcers=[ANNOUNCER.keyid])))
    request = PrefetchRequest(
        url=f"ipns://{NAME}/beta/amd64/manifest.json", store=tmp_path / "store", root=root
    )
    assert plan_of(request).policy.channel == "beta"


def test_a_place_on_this_machine_is_not_asked(tmp_path: Path, root: Path) -> None:
    places = announcement(mirrors=(f"http://127.0.0.1/{MANIFEST}", f"http://mirror/{MANIFEST}"))
    router = FakeServer({RECORD: current(announcement=places)})
    status, events = fetch(tmp_path, root, router=router, mirror=mirror())
    assert status == 0
    assert [event["url"] for event in of(events, "candidate.found")] == [
        f"http://mirror/{MANIFEST}"
    ]
    assert "127.0.0.1" in of(events, "reply.ignored")[0]["reason"]


def test_a_name_that_the_root_does_not_name_is_a_folder_at_gateways(
    tmp_path: Path, root: Path
) -> None:
    name = IpnsName(UNTRUSTED_KEY.keyid)
    folder = {f"ipns/{name}/{path}": data for path, data in mirror().files.items()}
    router = FakeServer({f"routing/v1/ipns/{name}": current(key=UNTRUSTED_KEY)})
    url = f"ipns://{name}/{MANIFEST}"
    status, events = fetch(tmp_path, root, url, router=router, gateway=FakeServer(folder))
    assert status == 0
    (verified,) = of(events, "manifest.verified")
    assert verified["url"] == f"{GATEWAY}/ipns/{name}/{MANIFEST}"
    assert not router.requests[f"routing/v1/ipns/{name}"]
    assert of(events, "record.accepted") == []


def test_a_name_that_leads_nowhere_says_what_to_name(
    tmp_path: Path, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"ipns://{IpnsName(UNTRUSTED_KEY.keyid)}/{MANIFEST}"
    assert fetch(tmp_path, root, url, router=FakeServer({}))[0] == FAILED
    assert "name a gateway (--gateway), or a newer root (--root)" in capsys.readouterr().err


def test_servers_of_the_command_line_stand_in_for_the_public_ones(
    tmp_path: Path, root: Path
) -> None:
    _, events = fetch(tmp_path, root, router=FakeServer({}))
    asked = [event["reason"] for event in of(events, "reply.ignored")]
    assert asked
    assert all(reason.startswith(ROUTER) for reason in asked)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("ipns://example.org", "'example.org' is no IPNS name"),
        ("/ipns/k51", "'k51' is no IPNS name"),
        (f"ipns://{NAME}/../manifest.json", "is no path of a manifest"),
    ],
)
def test_an_invalid_name_is_refused_before_any_request(
    tmp_path: Path, root: Path, capsys: pytest.CaptureFixture[str], url: str, reason: str
) -> None:
    request = PrefetchRequest(url=url, store=tmp_path / "store", root=root)
    assert prefetch(request, None) == USAGE  # type: ignore[arg-type] # it is not reached
    assert reason in capsys.readouterr().err
    assert not (tmp_path / "store").exists()
