"""`phase-boot fetch ipns://NAME` fills a store from kubo nodes as they are shipped.

The publisher's node puts the record into the DHT and holds the blocks. Another node is the gateway.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.announcing_publisher import (
    FILES,
    PHASE_BOOT,
    Publisher,
    announcing_publisher,
    of,
)
from tests.support.kubo import KuboNode, kubo_node

pytestmark = pytest.mark.interop

NO_MIRROR = "http://192.0.2.1"
"""An address of documentation (RFC 5737), at which no machine is."""
MANIFEST = "stable/amd64/manifest.json"


@pytest.fixture
def publisher(tmp_path: Path) -> Publisher:
    return announcing_publisher(tmp_path)


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[tuple[KuboNode, KuboNode]]:
    with kubo_node(tmp_path / "holder") as holder, kubo_node(tmp_path / "gateway") as gateway:
        holder.connect(gateway)
        yield holder, gateway


def fetch(publisher: Publisher, *servers: str) -> tuple[int, list[Mapping[str, Any]]]:
    """Fetch by the announcing key's name; return the exit status and the journal."""
    journal = publisher.folder / "journal.jsonl"
    root = ["--root", str(publisher.site / "root" / "1.json")]
    words = ["--store", str(publisher.store), "--journal", str(journal), *root]
    done = subprocess.run(
        [PHASE_BOOT, "fetch", f"ipns://{publisher.record().name}/{MANIFEST}", *words, *servers],
        capture_output=True,
        check=False,
        timeout=120,
    )
    return done.returncode, [json.loads(line) for line in journal.read_text().splitlines()]


def test_a_stock_gateway_alone_has_the_record_the_manifest_and_every_artifact(
    publisher: Publisher, nodes: tuple[KuboNode, KuboNode]
) -> None:
    holder, gateway = nodes
    publisher.announce("--mirror", NO_MIRROR, "--kubo", holder.api_url, "--import")
    status, events = fetch(publisher, "--gateway", gateway.gateway_url)
    assert status == 0, events
    (accepted,) = of(events, "record.accepted")
    assert accepted["name"] == publisher.record().name
    (verified,) = of(events, "manifest.verified")
    assert verified["url"].startswith(f"{gateway.gateway_url}/ipfs/")
    assert {event["source"] for event in of(events, "fetch.done")} == {gateway.gateway_url}
    assert publisher.stored() == set(FILES.values())


def test_peers_of_the_dht_alone_have_the_record_the_manifest_and_every_artifact(
    publisher: Publisher, nodes: tuple[KuboNode, KuboNode]
) -> None:
    holder, entry = nodes
    publisher.announce("--mirror", NO_MIRROR, "--kubo", holder.api_url, "--import")
    status, events = fetch(publisher, "--bootstrap", entry.address)
    assert status == 0, events
    (verified,) = of(events, "manifest.verified")
    assert verified["url"].startswith("ipfs://")
    assert {event["source"] for event in of(events, "fetch.done")} == {"bitswap"}
    assert publisher.stored() == set(FILES.values())
