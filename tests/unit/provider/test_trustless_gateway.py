"""`/ipfs/<cid>` by the trustless-gateway specification and its conformance tests."""

from __future__ import annotations

import random
from io import BytesIO
from pathlib import Path

import pytest

from phase_boot.content import car, dag_pb
from phase_boot.content.chunker import ChunkerParams, build_chunk_list
from phase_boot.content.cid import Cid, Codec, raw_cid
from phase_boot.content.dag_builder import Fanout, FileDag, build_dag
from phase_boot.content.dag_index import DagIndex
from phase_boot.content.digest import Digest
from phase_boot.drill.sample_manifest import INITRAMFS, KERNEL, document, signed
from phase_boot.provider.backends.backend import ServedFile
from phase_boot.provider.backends.site_backend import SiteBackend
from phase_boot.provider.gateway import block_index as module
from phase_boot.provider.gateway.block_index import BlockIndex
from phase_boot.store.layout import dag_path, entry_path
from tests.support.dags import learn
from tests.support.provider import MANIFEST, Answer, ask, make_site, running

RAW = "application/vnd.ipld.raw"
CAR = "application/vnd.ipld.car"
SMALL = ChunkerParams(
    min_size=64, normal_size=192, max_size=1024, strict_one_in=512, loose_one_in=128
)
FILE = random.Random(1).randbytes(20_000) + bytes(9000)  # noqa: S311 - repeatable, not secret
CHUNKS = build_chunk_list(BytesIO(FILE), SMALL)
PIECES = [FILE[chunk.offset :][: chunk.size] for chunk in CHUNKS]


def add(site: Path, data: bytes, version: str) -> FileDag:
    """Publish a root file system with its chunks in a SITE."""
    tree = build_dag(
        build_chunk_list(BytesIO(data), SMALL), Fanout(min_children=2, one_in=4, max_children=16)
    )
    (site / entry_path(Digest.of(data))).write_bytes(data)
    (site / "dag").mkdir(exist_ok=True)
    (site / dag_path(tree.root)).write_bytes(b"".join(tree.car()))
    files = {"kernel": KERNEL, "initramfs": INITRAMFS, "rootfs": data}
    named = document(
        version=version,
        artifacts={name: str(Digest.of(each)) for name, each in files.items()},
        sizes={name: len(each) for name, each in files.items()},
        dags={"rootfs": str(tree.root), "kernel": raw_cid(Digest.of(KERNEL))},
    )
    (site / MANIFEST[1:]).write_bytes(signed(named))
    return tree


@pytest.fixture
def site(tmp_path: Path) -> Path:
    return make_site(tmp_path / "site")


@pytest.fixture
def tree(site: Path) -> FileDag:
    return add(site, FILE, "2025.11.13")


async def got(site: Path, path: str, accept: str = "", method: str = "GET", **more: str) -> Answer:
    async with running(site) as provider:
        return await ask(provider.port, f"/ipfs/{path}", method, Accept=accept or "*/*", **more)


def unpacked(answer: Answer) -> list[tuple[Cid, bytes]]:
    body, whole = answer.body, bytearray()
    while body:
        size, _, body = body.partition(b"\r\n")
        whole += body[: int(size, 16)]
        body = body[int(size, 16) + 2 :]
    return list(car.blocks(bytes(whole), limit=10**6))


@pytest.mark.parametrize("by", ["parameter", "header"])
async def test_nodes_and_chunks_are_raw_blocks(site: Path, tree: FileDag, by: str) -> None:
    leaf = (Cid.of(Codec.RAW, PIECES[3]), PIECES[3])
    for cid, block in (tree.nodes[0], tree.nodes[-1], leaf):
        if by == "parameter":
            answer = await got(site, f"{cid}?format=raw")
        else:
            answer = await got(site, str(cid), RAW)
        assert (answer.status, answer.body) == (200, block)
        headers = answer.headers
        assert headers["Content-Type"] == RAW
        assert headers["Content-Length"] == str(len(block))
        assert headers["Content-Disposition"] == f'attachment; filename="{cid}.bin"'
        assert headers["ETag"] == f'"{cid}.raw"'
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["X-Ipfs-Path"] == f"/ipfs/{cid}"
        assert headers["X-Ipfs-Roots"] == str(cid)
        assert headers["Cache-Control"] == "public, max-age=31536000, immutable"


@pytest.mark.usefixtures("tree")
async def test_small_artifacts_and_manifests_are_blocks_too(site: Path) -> None:
    manifest = (site / MANIFEST[1:]).read_bytes()
    for data in (KERNEL, manifest):
        answer = await got(site, f"{raw_cid(Digest.of(data))}?format=raw")
        assert (answer.status, answer.body) == (200, data)


async def test_the_gateway_probe_is_answered(site: Path) -> None:
    answer = await got(site, "bafkqaaa?format=raw", method="HEAD")
    assert (answer.status, answer.headers["Content-Length"]) == (200, "0")


async def test_a_head_has_no_body(site: Path, tree: FileDag) -> None:
    for form in ("raw", "car"):
        answer = await got(site, f"{tree.root}?format={form}", method="HEAD")
        assert (answer.status, answer.body) == (200, b"")


async def test_a_known_entity_is_answered_with_304(site: Path, tree: FileDag) -> None:
    for form in ("raw", "car"):
        first = await got(site, f"{tree.root}?format={form}")
        known = first.headers["ETag"]
        again = await got(site, f"{tree.root}?format={form}", If_None_Match=f'"x", {known}')
        assert (again.status, again.body) == (304, b"")
    other = await got(site, f"{tree.root}?format=car&dag-scope=block", If_None_Match=known)
    assert other.status == 200


def depth_first(tree: FileDag, root: Cid) -> list[Cid]:
    nodes = dict(tree.nodes)
    below = dag_pb.read(nodes[root], root.codec).links if root in nodes else ()
    return [root, *(cid for link in below for cid in depth_first(tree, link.cid))]


async def test_a_car_has_the_whole_file_depth_first(site: Path, tree: FileDag) -> None:
    order = depth_first(tree, tree.root)
    twice = await got(site, str(tree.root), f"{CAR}; version=1; order=dfs; dups=y")
    assert twice.headers["Content-Type"] == f"{CAR}; version=1; order=dfs; dups=y"
    assert twice.headers["Content-Disposition"] == f'attachment; filename="{tree.root}.car"'
    assert twice.headers["Accept-Ranges"] == "none"
    blocks = unpacked(twice)
    assert [cid for cid, _ in blocks] == order
    assert b"".join(block for cid, block in blocks if cid.codec is Codec.RAW) == FILE
    once = await got(site, f"{tree.root}?format=car&car-dups=n")
    assert once.headers["Content-Type"].endswith("dups=n")
    assert [cid for cid, _ in unpacked(once)] == list(dict.fromkeys(order))
    assert len(set(order)) < len(order)


async def test_a_car_of_one_node_or_chunk(site: Path, tree: FileDag) -> None:
    inner = tree.nodes[-1][0]
    assert [cid for cid, _ in unpacked(await got(site, str(inner), CAR))] == depth_first(
        tree, inner
    )
    leaf = Cid.of(Codec.RAW, PIECES[0])
    assert unpacked(await got(site, str(leaf), CAR)) == [(leaf, PIECES[0])]
    block = await got(site, f"{tree.root}?dag-scope=block", CAR)
    assert unpacked(block) == [tree.nodes[0]]
    entity = await got(site, f"{tree.root}?dag-scope=entity", CAR)
    assert [cid for cid, _ in unpacked(entity)] == depth_first(tree, tree.root)


@pytest.mark.parametrize(
    ("bounds", "needs"),
    [
        ("0:*", (0, len(FILE))),
        ("0:0", (0, 1)),
        ("5000:9000", (5000, 9001)),
        ("-100:*", (len(FILE) - 100, len(FILE))),
        ("0:-28000", (0, len(FILE) - 28000 + 1)),
        ("28000:99999999", (28000, len(FILE))),
        ("-99999999:10", (0, 11)),
        ("99999999:*", (0, 0)),
    ],
)
@pytest.mark.parametrize("dups", ["y", "n"])
async def test_a_car_of_a_byte_range_has_only_the_needed_blocks(
    site: Path, tree: FileDag, bounds: str, needs: tuple[int, int], dups: str
) -> None:
    start, end = needs
    query = f"format=car&dag-scope=entity&entity-bytes={bounds}&car-dups={dups}"
    blocks = unpacked(await got(site, f"{tree.root}?{query}"))
    needed = [
        Cid.of(Codec.RAW, piece)
        for chunk, piece in zip(CHUNKS, PIECES, strict=True)
        if chunk.offset < end and chunk.offset + chunk.size > start
    ]
    leaves = [cid for cid, _ in blocks if cid.codec is Codec.RAW]
    assert leaves == (needed if dups == "y" else list(dict.fromkeys(needed)))
    assert blocks[0][0] == tree.root
    assert (len(blocks) == 1) is (start == end)


@pytest.mark.parametrize(
    ("status", "path", "accept"),
    [
        (406, "{root}", "*/*"),
        (406, "{root}", "text/html,application/xhtml+xml"),
        (406, "{root}", "application/vnd.ipld.raw;q=0"),
        (406, "{root}?format=tar", RAW),
        (406, "{root}?format=", RAW),
        (400, "{root}?format=car&car-version=2", ""),
        (400, "{root}", f"{CAR};version=2"),
        (400, "{root}?format=car&car-order=bfs", ""),
        (400, "{root}?format=car&car-dups=maybe", ""),
        (400, "{root}?format=car&dag-scope=everything", ""),
        (400, "{root}?format=car&entity-bytes=1-2", ""),
        (400, "{root}?format=car&entity-bytes=9:1", ""),
        (400, "{root}?format=car&entity-bytes=9999999999999999999:1", ""),
        (400, "?format=raw", ""),
        (400, "bafy?format=raw", ""),
        (400, "../stable/amd64/manifest.json?format=raw", ""),
        (400, "{root}A?format=raw", ""),
        (404, "{root}/file?format=raw", ""),
        (404, "{root}/file?format=car", ""),
        (404, "QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG?format=raw", ""),
        (404, f"{Cid.of(Codec.RAW, b'absent')}?format=raw", ""),
        (404, f"{Cid.of(Codec.DAG_PB, b'absent')}?format=car", ""),
    ],
)
async def test_a_request_that_cannot_be_served_gets_a_reason(
    site: Path, tree: FileDag, status: int, path: str, accept: str
) -> None:
    answer = await got(site, path.format(root=tree.root), accept)
    assert answer.status == status
    assert answer.body
    assert "immutable" not in answer.headers.get("Cache-Control", "")


@pytest.mark.usefixtures("tree")
async def test_only_if_cached_is_answered_with_412_for_an_absent_block(site: Path) -> None:
    absent = Cid.of(Codec.RAW, b"absent")
    answer = await got(site, f"{absent}?format=raw", Cache_Control="only-if-cached")
    assert answer.status == 412


async def test_the_accepted_type_with_the_highest_quality_is_sent(
    site: Path, tree: FileDag
) -> None:
    answer = await got(site, str(tree.root), f"{CAR};q=0.5, {RAW};q=0.9, */*;q=0.1")
    assert answer.headers["Content-Type"] == RAW
    answer = await got(site, f"{tree.root}?format=car", RAW)
    assert answer.headers["Content-Type"].startswith(CAR)


@pytest.mark.parametrize(
    ("given", "used"), [("foobar.bin", "foobar.bin"), ('a"b.bin', ""), ("a%0d%0ab", ""), ("", "")]
)
async def test_a_valid_file_name_parameter_is_used(
    site: Path, tree: FileDag, given: str, used: str
) -> None:
    answer = await got(site, f"{tree.root}?format=raw&filename={given}")
    named = f'attachment; filename="{used or f"{tree.root}.bin"}"'
    assert answer.headers["Content-Disposition"] == named


async def test_a_changed_file_is_never_served(site: Path, tree: FileDag) -> None:
    entry = site / entry_path(Digest.of(FILE))
    leaf = Cid.of(Codec.RAW, PIECES[0])
    async with running(site) as provider:
        assert (await ask(provider.port, f"/ipfs/{leaf}?format=raw")).status == 200
        entry.write_bytes(b"?" + FILE[1:])
        assert (await ask(provider.port, f"/ipfs/{leaf}?format=raw")).status == 404
        answer = await ask(provider.port, f"/ipfs/{tree.root}?format=car")
        assert PIECES[0][1:] not in answer.body
        assert not answer.body.endswith(b"0\r\n\r\n")
        entry.unlink()
        assert (await ask(provider.port, f"/ipfs/{leaf}?format=raw")).status == 404


def test_chunk_lists_are_read_once_and_cached_up_to_a_bound(
    site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RESCAN_SECONDS", 0)
    opened: list[str] = []

    class Watched(SiteBackend):
        def open(self, path: str) -> ServedFile | None:
            opened.append(path)
            return super().open(path)

    blocks = BlockIndex(Watched(site), max_chunks=CHUNKS.count + 5)
    first = add(site, FILE, "2025.11.13")
    for _ in range(3):
        assert blocks.find(first.root) is not None
        assert blocks.find(first.nodes[-1][0]) is not None
    assert opened.count(dag_path(first.root)) == 1
    second = add(site, FILE[::-1], "2025.11.14")
    assert blocks.find(second.root) is not None
    assert blocks.find(first.root) is None
    assert opened.count(dag_path(second.root)) == 1


@pytest.mark.parametrize("step", [1, -1])
def test_blocks_of_several_artifacts_are_found_without_a_pause(
    site: Path, tree: FileDag, step: int
) -> None:
    blocks = BlockIndex(SiteBackend(site))
    for cid in (Cid.of(Codec.RAW, KERNEL), tree.nodes[-1][0], tree.root)[::step]:
        found = blocks.find(cid)
        assert found is not None
        assert Cid.of(cid.codec, blocks.read(found, cid)) == cid


def test_an_unknown_cid_does_not_cause_a_scan_each_time(site: Path, tree: FileDag) -> None:
    looked: list[object] = []

    class Watched(SiteBackend):
        def dags(self) -> dict[Cid, Digest]:
            looked.append(None)
            return dict(super().dags())

    blocks = BlockIndex(Watched(site))
    for _ in range(100):
        assert blocks.find(Cid.of(Codec.RAW, b"absent")) is None
    assert len(looked) == 1
    assert tree.root in Watched(site).dags()


@pytest.mark.parametrize("damage", [b"", b"no CAR", bytes(70)])
async def test_an_invalid_chunk_list_is_ignored(site: Path, tree: FileDag, damage: bytes) -> None:
    (site / dag_path(tree.root)).write_bytes(damage)
    assert (await got(site, f"{tree.root}?format=raw")).status == 404
    assert (await got(site, f"{raw_cid(Digest.of(KERNEL))}?format=raw")).status == 200


async def test_our_own_reader_takes_the_list_from_a_mirror(site: Path, tree: FileDag) -> None:
    async with running(site) as provider:
        answer = await ask(provider.port, f"/{dag_path(tree.root)}")
    index = DagIndex(tree.root, len(FILE))
    learn(index, answer.body)
    assert index.chunks() == CHUNKS
