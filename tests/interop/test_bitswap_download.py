"""Artifacts by bitswap alone, from real kubo nodes beside peers with faults."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from phase_boot.content.cid import Cid
from phase_boot.download import ArtifactUnavailable
from tests.support.bitswap_downloads import BitswapDownload, address_of, provided_by
from tests.support.bitswap_peer import Fault, bitswap_peer
from tests.support.downloads import data_of
from tests.support.kubo import KuboNode, kubo_node

pytestmark = pytest.mark.interop

FILE = data_of(8 * 1000 * 1000)


@pytest.fixture(scope="module")
def kubo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KuboNode]:
    with kubo_node(tmp_path_factory.mktemp("kubo") / "repo") as node:
        yield node


@pytest.fixture(scope="module")
def root(kubo: KuboNode) -> Cid:
    return provided_by(kubo, FILE)


def test_an_artifact_comes_from_a_kubo_node_that_the_record_names(
    kubo: KuboNode, root: Cid
) -> None:
    download = BitswapDownload()
    assert asyncio.run(download.fetch(FILE, root, [address_of(kubo)])) == FILE
    assert download.failures == set()


def test_an_artifact_comes_from_a_kubo_node_that_the_dht_names(
    kubo: KuboNode, root: Cid, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with kubo_node(tmp_path_factory.mktemp("other") / "repo") as other:
        other.connect(kubo)
        kubo.api("routing/provide", str(root))
        download = BitswapDownload()
        got = asyncio.run(download.fetch(FILE, root, [], bootstrap=(address_of(other),)))
    assert got == FILE


@pytest.mark.parametrize("fault", [Fault.FREEZES, Fault.LIES])
def test_a_peer_with_a_fault_beside_a_good_one_costs_no_artifact(
    fault: Fault, kubo: KuboNode, root: Cid
) -> None:
    download = BitswapDownload()
    with bitswap_peer(fault) as address:
        got = asyncio.run(download.fetch(FILE, root, [address, address_of(kubo)]))
    assert got == FILE
    assert download.failures == set()


def test_an_artifact_that_no_peer_has_ends_with_one_sentence(kubo: KuboNode) -> None:
    other = data_of(100_000, seed=2)
    absent = Cid.parse("bafybeicaw35owolmiyeto7snsaefjzafns6vi4j6dhcrqrielc4bjp7fwi")
    download = BitswapDownload()
    with pytest.raises(ArtifactUnavailable, match="no peer of libp2p sent the list of its chunks"):
        asyncio.run(download.fetch(other, absent, [address_of(kubo)]))
    assert download.failures == {"the list of its chunks: 1 of 1 peers lack it"}


def test_a_peer_that_lies_alone_is_named_and_nothing_is_stored(root: Cid) -> None:
    download = BitswapDownload()
    with (
        bitswap_peer(Fault.LIES) as address,
        pytest.raises(ArtifactUnavailable),
    ):
        asyncio.run(download.fetch(FILE, root, [address]))
    (reason,) = download.failures
    assert "it sent a block that was not requested" in reason
