"""Another IPFS implementation reads our DAGs, and we read the blocks that it serves.

The peer is boxo, the library that kubo is made of: its CAR reader, its UnixFS reader, its client of
trustless gateways and its gateway (`make interop-ipfs` builds it, `ipfs/main.go` is ours).
"""

from __future__ import annotations

import asyncio
import random
import socket
import subprocess
import time
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from io import BytesIO
from pathlib import Path

import pytest

from phase_boot.content import car, dag_pb
from phase_boot.content.artifact import Artifact
from phase_boot.content.chunker import DEFAULT_PARAMS, build_chunk_list
from phase_boot.content.cid import Cid, Codec
from phase_boot.content.dag_builder import build_dag
from phase_boot.content.digest import Digest
from phase_boot.drill.sample_manifest import INITRAMFS, KERNEL, document, signed
from phase_boot.journal.content_events import SourceFailed
from phase_boot.store.layout import dag_path, entry_path
from tests.support.gateways import GatewayDownload
from tests.support.provider import MANIFEST, Running, make_site, running

PEER = Path(__file__).parents[2] / "build/tools/boxo-peer"
FILE = random.Random(1).randbytes(3_000_000) + bytes(500_000)  # noqa: S311 - repeatable, not secret
TREE = build_dag(build_chunk_list(BytesIO(FILE), DEFAULT_PARAMS))
SECONDS = 60

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(
        not PEER.is_file(), reason="boxo is not built: install Go 1.26, run `make interop-ipfs`"
    ),
]


@pytest.fixture
def site(tmp_path: Path) -> Path:
    made = make_site(tmp_path / "site")
    files = {"kernel": KERNEL, "initramfs": INITRAMFS, "rootfs": FILE}
    (made / entry_path(Digest.of(FILE))).write_bytes(FILE)
    (made / "dag").mkdir()
    (made / dag_path(TREE.root)).write_bytes(b"".join(TREE.car()))
    named = document(
        artifacts={name: str(Digest.of(data)) for name, data in files.items()},
        sizes={name: len(data) for name, data in files.items()},
        dags={"rootfs": str(TREE.root)},
    )
    (made / MANIFEST[1:]).write_bytes(signed(named))
    return made


@asynccontextmanager
async def gateway(site: Path) -> AsyncIterator[tuple[Running, str]]:
    async with running(site) as provider:
        yield provider, f"http://127.0.0.1:{provider.port}"


def peer(*words: str) -> bytes:
    done = subprocess.run([PEER, *words], capture_output=True, timeout=SECONDS, check=False)
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    return done.stdout


def got(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=SECONDS) as answer:  # noqa: S310 - loopback
        data: bytes = answer.read()
        return data


@pytest.mark.parametrize("dups", ["y", "n"])
async def test_the_peer_reads_the_file_out_of_our_car(
    site: Path, tmp_path: Path, dups: str
) -> None:
    async with gateway(site) as (_, url):
        whole = await asyncio.to_thread(got, f"{url}/ipfs/{TREE.root}?format=car&car-dups={dups}")
    (tmp_path / "file.car").write_bytes(whole)
    assert peer("cat", str(tmp_path / "file.car"), str(TREE.root)) == FILE


async def test_the_peer_fetches_the_file_from_our_gateway(site: Path) -> None:
    async with gateway(site) as (provider, url):
        assert await asyncio.to_thread(peer, "fetch", url, str(TREE.root)) == FILE
    assert {request.status for request in provider.requests} == {200}
    assert len(provider.requests) > 100


@contextmanager
def served(path: Path) -> Iterator[str]:
    """Let the peer serve a CAR file as a gateway."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with subprocess.Popen([PEER, "serve", path, f"127.0.0.1:{port}"]) as process:
        try:
            for _ in range(SECONDS * 10):
                with socket.socket() as probe:
                    if not probe.connect_ex(("127.0.0.1", port)):
                        break
                time.sleep(0.1)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


async def test_we_read_what_the_peers_gateway_serves(site: Path, tmp_path: Path) -> None:
    async with gateway(site) as (_, url):
        whole = await asyncio.to_thread(got, f"{url}/ipfs/{TREE.root}?format=car")
    (tmp_path / "file.car").write_bytes(whole)
    with served(tmp_path / "file.car") as url:
        theirs = got(f"{url}/ipfs/{TREE.root}?format=car&dag-scope=all")
        blocks = dict(car.blocks(theirs, limit=2 * len(FILE)))
        assert blocks == dict(car.blocks(whole, limit=2 * len(FILE)))
        for cid, block in TREE.nodes:
            assert got(f"{url}/ipfs/{cid}?format=raw") == block
        assert got(f"{url}/ipfs/{TREE.root}") == FILE

        fetching = GatewayDownload(url)
        artifact = Artifact("rootfs", Digest.of(FILE), len(FILE))
        assert await fetching.fetch(artifact, TREE.root) == FILE
        assert not [event for event in fetching.events if isinstance(event, SourceFailed)]

    def read(cid: Cid) -> bytes:
        node = dag_pb.read(blocks[cid], cid.codec)
        return node.data + b"".join(read(link.cid) for link in node.links)

    assert TREE.root.codec is Codec.DAG_PB
    assert read(TREE.root) == FILE
