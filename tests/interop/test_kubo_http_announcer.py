"""kubo fetches from `phase-boot serve` by the DHT alone: another node announces its HTTPS address.

The announcing node holds the inner nodes of a DAG and no chunk. No delegated router is asked.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from phase_boot.content.chunker import DEFAULT_PARAMS, build_chunk_list
from phase_boot.content.dag_builder import build_dag
from phase_boot.content.digest import Digest
from phase_boot.drill.sample_manifest import INITRAMFS, KERNEL
from phase_boot.store.layout import dag_path, entry_path
from tests.support.announced_site import add_manifest, make_announced_site
from tests.support.https_proxies import behind_https
from tests.support.kubo import KuboNode, kubo_node
from tests.support.web_servers import free_ports, wait_for

pytestmark = pytest.mark.interop

PHASE_BOOT = Path(sys.executable).parent / "phase-boot"
ROOTFS = random.Random(5).randbytes(3_000_000)  # noqa: S311 - repeatable, not secret
DAG = build_dag(build_chunk_list(BytesIO(ROOTFS), DEFAULT_PARAMS))
JOIN_SECONDS = 20
INNER_NODES = b"".join(DAG.car())


@pytest.fixture
def site(tmp_path: Path) -> Path:
    made = make_announced_site(tmp_path)
    (made / entry_path(Digest.of(ROOTFS))).write_bytes(ROOTFS)
    (made / "dag").mkdir()
    (made / dag_path(DAG.root)).write_bytes(INNER_NODES)
    files = {"kernel": KERNEL, "initramfs": INITRAMFS, "rootfs": ROOTFS}
    add_manifest(
        made,
        artifacts={name: str(Digest.of(data)) for name, data in files.items()},
        sizes={name: len(data) for name, data in files.items()},
        dags={"rootfs": str(DAG.root)},
    )
    return made


@contextmanager
def provider(site: Path, port: int, log: Path) -> Iterator[None]:
    words = ["serve", str(site), "--host", "127.0.0.1", "--no-announce", "--no-receipts"]
    words += ["--port", str(port), "--json"]
    with log.open("wb") as output, subprocess.Popen([PHASE_BOOT, *words], stdout=output) as running:
        try:
            wait_for(port, running, log)
            yield
        finally:
            running.terminate()


def requests(log: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    return [line for line in lines if line["event"] == "request"]


def providers(node: KuboNode) -> list[dict[str, Any]]:
    lines = map(json.loads, node.api("routing/findprovs", str(DAG.root)).splitlines())
    return [each for line in lines if line["Type"] == 4 for each in line["Responses"]]


def join(node: KuboNode, server: KuboNode) -> None:
    """Connect a client of the DHT with a server of it."""
    addresses = json.loads(server.api("id"))["Addresses"]
    node.api("swarm/connect", next(each for each in addresses if "/tcp/" in each))
    deadline = time.monotonic() + JOIN_SECONDS
    while not node.dht_peers():
        assert time.monotonic() < deadline, "the server is not in the table of its client"
        time.sleep(0.05)


def test_kubo_fetches_by_the_dht_what_another_node_announces_at_an_https_address(
    site: Path, tmp_path: Path
) -> None:
    port, public = free_ports()
    address, log = f"/dns4/localhost/tcp/{public}/tls/http", tmp_path / "serve.log"
    announcing = {"Routing.Type": "dhtclient", "Addresses.Announce": [address]}
    (tmp_path / "proxy").mkdir()
    with (
        provider(site, port, log),
        behind_https("nginx", tmp_path / "proxy", public, port) as authority,
        kubo_node(tmp_path / "dht") as dht,
        kubo_node(tmp_path / "announcer", settings=announcing) as announcer,
        kubo_node(
            tmp_path / "client",
            settings={"Routing.Type": "dhtclient", "HTTPRetrieval.Enabled": True},
            authority=authority,
        ) as client,
    ):
        for node in (announcer, client):
            join(node, dht)
        announcer.api("dag/import", file=INNER_NODES, pin_roots="false")
        announcer.api("routing/provide", str(DAG.root))
        (found,) = providers(client)
        assert found["Addrs"] == [address]
        assert Digest.of(client.api("cat", str(DAG.root))) == Digest.of(ROOTFS)
    assert {line["status"] for line in requests(log)} == {200}
    assert {line["path"].split("/")[1] for line in requests(log)} == {"ipfs"}
