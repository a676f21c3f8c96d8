"""kubo, a program of another project, reads our DAGs, and we read the blocks that it serves."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from functools import cache
from io import BytesIO
from pathlib import Path

import pytest

from phase_boot.content import car
from phase_boot.content.artifact import Artifact
from phase_boot.content.chunk_list import ChunkList
from phase_boot.content.chunker import DEFAULT_PARAMS, build_chunk_list
from phase_boot.content.cid import Cid, Codec
from phase_boot.content.dag_builder import FileDag, build_dag
from phase_boot.content.digest import Digest
from phase_boot.content.list_file import list_car, list_root
from phase_boot.download import ArtifactUnavailable
from phase_boot.download.gateway_formats import Format
from phase_boot.drill.sample_manifest import INITRAMFS, KERNEL, document, signed
from phase_boot.journal.content_events import SourceFailed, SourceServed
from phase_boot.store.disk import Folder
from phase_boot.store.layout import dag_path, entry_path
from tests.support.gateways import GatewayDownload
from tests.support.kubo import CommandFailed, KuboNode, ask, kubo_node
from tests.support.provider import MANIFEST, make_site, running
from tests.support.real_mirror import mirror

pytestmark = pytest.mark.interop

ROOTFS = random.Random(1).randbytes(3_000_000) + bytes(500_000)  # noqa: S311 - repeatable
FILES = {"kernel": KERNEL, "initramfs": INITRAMFS, "rootfs": ROOTFS}
ROOTFS_ARTIFACT = Artifact("rootfs", Digest.of(ROOTFS), len(ROOTFS))
VECTOR = Path(__file__).parents[1] / "vectors/dag/chunked.car"
VECTOR_FILE = Digest("7239b473a8701a52beed8794710ddc267c255a764343499f8c5f831886dc8fcc")
SEARCH = "3s"
"""How long the node searches for a block that it does not hold; one that it holds takes less."""


@cache
def chunks_of(name: str) -> ChunkList:
    return build_chunk_list(BytesIO(FILES[name]), DEFAULT_PARAMS)


@cache
def dag_of(name: str) -> FileDag:
    return build_dag(chunks_of(name))


@pytest.fixture(scope="module")
def kubo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KuboNode]:
    settings = {"Gateway.RetrievalTimeout": SEARCH}
    with kubo_node(tmp_path_factory.mktemp("kubo") / "repo", settings=settings) as node:
        yield node


@pytest.fixture
def node(kubo: KuboNode) -> KuboNode:
    """Return the node of this module, without a block."""
    kubo.clear()
    return kubo


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = make_site(tmp_path_factory.mktemp("site") / "site")
    (made / entry_path(ROOTFS_ARTIFACT.digest)).write_bytes(ROOTFS)
    (made / "dag").mkdir()
    for name in FILES:
        (made / dag_path(dag_of(name).root)).write_bytes(b"".join(dag_of(name).car()))
    named = document(
        artifacts={name: str(Digest.of(data)) for name, data in FILES.items()},
        sizes={name: len(data) for name, data in FILES.items()},
        dags={name: str(dag_of(name).root) for name in FILES},
    )
    (made / MANIFEST[1:]).write_bytes(signed(named))
    return made


async def ours(site: Path, *paths: str) -> list[bytes]:
    """Return what our provider answers to each path."""
    async with running(site) as provider:
        base = f"http://127.0.0.1:{provider.port}"
        answers = [await asyncio.to_thread(ask, f"{base}{path}") for path in paths]
    assert {answer.status for answer in answers} == {200}
    return [answer.body for answer in answers]


async def our_car(site: Path, name: str, **parameters: str) -> bytes:
    (whole,) = await ours(site, car_path(dag_of(name).root, **parameters))
    return whole


def car_path(root: Cid, **parameters: str) -> str:
    given = "".join(f"&{key.replace('_', '-')}={value}" for key, value in parameters.items())
    return f"/ipfs/{root}?format=car{given}"


def test_the_node_reaches_no_other_machine(kubo: KuboNode) -> None:
    sockets = kubo.sockets()
    assert len(sockets) >= 4
    assert {local.rpartition(":")[0] for local, _ in sockets} == {"127.0.0.1"}
    assert all(remote.startswith("127.0.0.1:") or remote.endswith(":*") for _, remote in sockets)
    assert b'"Peers":null' in kubo.api("swarm/peers").replace(b" ", b"")


# ---- kubo reads what we serve --------------------------------------------------------------------


@pytest.mark.parametrize("dups", ["y", "n"])
@pytest.mark.parametrize("name", FILES)
async def test_kubo_reads_an_artifact_out_of_our_car(
    node: KuboNode, site: Path, name: str, dups: str
) -> None:
    root = str(dag_of(name).root)
    with pytest.raises(CommandFailed):
        node.cat(root)
    whole = await our_car(site, name, car_dups=dups)
    assert node.import_car(whole) == [root]
    assert Digest.of(node.cat(root)) == Digest.of(FILES[name])


def test_kubo_reads_the_dag_of_the_vectors(node: KuboNode) -> None:
    (root,) = node.import_car(VECTOR.read_bytes())
    assert Digest.of(node.cat(root)) == VECTOR_FILE


async def test_kubo_refuses_our_car_with_a_changed_byte(node: KuboNode, site: Path) -> None:
    whole = bytearray(await our_car(site, "rootfs"))
    whole[len(whole) // 2] ^= 1
    with pytest.raises(CommandFailed):
        node.import_car(bytes(whole))
    with pytest.raises(CommandFailed):
        node.cat(str(dag_of("rootfs").root))


# ---- we read what kubo serves --------------------------------------------------------------------


@pytest.fixture
async def serving(node: KuboNode, site: Path) -> KuboNode:
    """Return the node with the root filesystem."""
    node.import_car(await our_car(site, "rootfs"))
    return node


async def test_a_store_is_filled_from_kubos_gateway_alone(serving: KuboNode) -> None:
    download = GatewayDownload(serving.gateway_url)
    assert await download.fetch(ROOTFS_ARTIFACT, dag_of("rootfs").root) == ROOTFS
    assert not [event for event in download.events if isinstance(event, SourceFailed)]


async def test_kubos_gateway_sends_the_chunk_list_as_a_file(serving: KuboNode) -> None:
    dag = dag_of("rootfs")
    nodes = b"".join(dag.car())
    listed = list_root(nodes)
    assert serving.import_car(b"".join(list_car(nodes))) == [str(listed)]
    assert serving.cat(str(listed)) == nodes
    download = GatewayDownload(serving.gateway_url, chunk_lists={dag.root: listed})
    assert await download.fetch(ROOTFS_ARTIFACT, dag.root) == ROOTFS
    assert not [event for event in download.events if isinstance(event, SourceFailed)]


async def test_kubos_gateway_and_a_mirror_are_used_together(serving: KuboNode, site: Path) -> None:
    with mirror(site) as other:
        other.seconds = 0.05
        download = GatewayDownload(serving.gateway_url, mirrors=(other.url,))
        assert await download.fetch(ROOTFS_ARTIFACT, dag_of("rootfs").root) == ROOTFS
    gave = {event.source for event in download.events if isinstance(event, SourceServed)}
    assert gave == {serving.gateway_url, other.url}


@pytest.mark.parametrize("files", [True, False], ids=["files", "cars"])
async def test_kubos_gateway_sends_files_or_else_cars(
    tmp_path: Path, site: Path, *, files: bool
) -> None:
    settings = {"Gateway.DeserializedResponses": files}
    with kubo_node(tmp_path / "repo", offline=True, settings=settings) as node:
        node.import_car(await our_car(site, "rootfs"))
        download = GatewayDownload(node.gateway_url)
        assert await download.fetch(ROOTFS_ARTIFACT, dag_of("rootfs").root) == ROOTFS
    assert not [event for event in download.events if isinstance(event, SourceFailed)]
    wanted = Format.FILE if files else Format.CAR
    assert download.formats.of(node.gateway_url) is wanted


async def test_blocks_and_cars_of_kubo_are_ours(serving: KuboNode, site: Path) -> None:
    root = dag_of("rootfs").root
    whole = await our_car(site, "rootfs", car_dups="y")
    cids = {cid for cid, _ in car.blocks(whole, limit=2 * len(ROOTFS))}
    assert len(cids) > 100
    raw = [f"/ipfs/{cid}?format=raw" for cid in sorted(cids)]
    for path, block in zip(raw, await ours(site, *raw), strict=True):
        assert ask(serving.gateway_url + path).body == block
    theirs = ask(serving.gateway_url + car_path(root, car_order="dfs", car_dups="y"))
    assert theirs.body == whole


SPANS = [(0, 0), (0, 99_999), (1_000_000, 1_999_999), (2_999_990, 3_499_999)]
"""First and last byte; the last span begins in random bytes and ends with zeros."""


@pytest.mark.parametrize(("first", "last"), SPANS)
async def test_a_range_of_kubos_file_is_ours(serving: KuboNode, first: int, last: int) -> None:
    url = f"{serving.gateway_url}/ipfs/{dag_of('rootfs').root}"
    answer = ask(url, Range=f"bytes={first}-{last}")
    assert (answer.status, answer.body) == (206, ROOTFS[first : last + 1])


@pytest.mark.parametrize(("first", "last"), SPANS)
async def test_the_car_of_a_range_is_the_same_from_both(
    serving: KuboNode, site: Path, first: int, last: int
) -> None:
    span = {"dag_scope": "entity", "entity_bytes": f"{first}:{last}", "car_dups": "n"}
    theirs = ask(serving.gateway_url + car_path(dag_of("rootfs").root, **span)).body
    assert theirs == await our_car(site, "rootfs", **span)
    assert len(theirs) < len(ROOTFS) - 400_000


# ---- what it does not hold -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def offline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KuboNode]:
    with kubo_node(tmp_path_factory.mktemp("offline") / "repo", offline=True) as node:
        yield node


@pytest.fixture(params=["online", "offline"])
def without(request: pytest.FixtureRequest, node: KuboNode) -> KuboNode:
    """Return a node that does not hold the root filesystem."""
    other: KuboNode = request.getfixturevalue("offline")
    return node if request.param == "online" else other


async def test_an_absent_artifact_is_a_failure_in_a_bounded_time(without: KuboNode) -> None:
    download = GatewayDownload(without.gateway_url)
    async with asyncio.timeout(60):
        with pytest.raises(ArtifactUnavailable):
            await download.fetch(ROOTFS_ARTIFACT, dag_of("rootfs").root)
    assert [event for event in download.events if isinstance(event, SourceFailed)]
    assert not download.disk.items(Folder.ENTRIES)


async def test_an_artifact_without_one_of_its_chunks_is_a_failure(
    serving: KuboNode,
) -> None:
    gone = Cid(Codec.RAW, Digest(chunks_of("rootfs").chunk(70).digest.hex()))
    serving.api("pin/rm", str(dag_of("rootfs").root))
    serving.api("block/rm", str(gone))
    download = GatewayDownload(serving.gateway_url)
    async with asyncio.timeout(60):
        with pytest.raises(ArtifactUnavailable):
            await download.fetch(ROOTFS_ARTIFACT, dag_of("rootfs").root)
    assert not download.disk.items(Folder.ENTRIES)
