"""kubo, as it is shipped, fetches from `phase-boot serve` by its delegated router alone."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from phase_boot.announce.site_record import announce_site
from phase_boot.content.chunker import DEFAULT_PARAMS, build_chunk_list
from phase_boot.content.cid import Cid, Codec, raw_cid
from phase_boot.content.dag_builder import build_dag
from phase_boot.content.digest import Digest
from phase_boot.drill.sample_manifest import INITRAMFS, KERNEL
from phase_boot.provider.gateway.http_provider import HttpProvider, parse_public_url
from phase_boot.store.layout import dag_path, entry_path
from tests.support.announced_site import add_manifest, make_announced_site, terms
from tests.support.https_proxies import PROXIES, behind_https
from tests.support.ipns_records import ANNOUNCING_KEY, NAME
from tests.support.kubo import KuboNode, ask, kubo_node
from tests.support.provider import MANIFEST
from tests.support.web_servers import free_ports, wait_for

pytestmark = pytest.mark.interop

PHASE_BOOT = Path(sys.executable).parent / "phase-boot"
ROOTFS = random.Random(3).randbytes(3_000_000)  # noqa: S311 - repeatable, not secret
DAG = build_dag(build_chunk_list(BytesIO(ROOTFS), DEFAULT_PARAMS))
ABSENT = Cid.of(Codec.RAW, b"served by nobody")
SEARCH = 4
"""Seconds for which the node searches for a block that its gateway is asked for."""


@dataclass(frozen=True)
class Network:
    """A provider behind a proxy, and a node that has the provider as its only router."""

    provider: HttpProvider
    node: KuboNode
    log: Path

    def requests(self, prefix: str) -> list[dict[str, Any]]:
        """Return the logged requests below a path; one address has 60 lines in a minute."""
        lines = [json.loads(line) for line in self.log.read_text().splitlines()]
        return [
            line for line in lines if line["event"] == "request" and line["path"].startswith(prefix)
        ]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = make_announced_site(tmp_path_factory.mktemp("announced"))
    (made / entry_path(Digest.of(ROOTFS))).write_bytes(ROOTFS)
    (made / "dag").mkdir()
    (made / dag_path(DAG.root)).write_bytes(b"".join(DAG.car()))
    files = {"kernel": KERNEL, "initramfs": INITRAMFS, "rootfs": ROOTFS}
    add_manifest(
        made,
        artifacts={name: str(Digest.of(data)) for name, data in files.items()},
        sizes={name: len(data) for name, data in files.items()},
        dags={"rootfs": str(DAG.root), "kernel": raw_cid(Digest.of(KERNEL))},
    )
    announce_site(made, ANNOUNCING_KEY, terms())
    return made


@contextmanager
def provided(site: Path, port: int, public_url: str, log: Path) -> Iterator[None]:
    """Run the command of docs/announcing.md on the SITE."""
    words = ["serve", str(site), "--host", "127.0.0.1", "--no-announce", "--no-receipts"]
    words += ["--public-url", public_url, "--port", str(port), "--json"]
    with log.open("wb") as output, subprocess.Popen([PHASE_BOOT, *words], stdout=output) as running:
        try:
            wait_for(port, running, log)
            yield
        finally:
            running.terminate()


@contextmanager
def network(name: str, site: Path, folder: Path) -> Iterator[Network]:
    port, public = free_ports()
    public_url, log = f"https://localhost:{public}", folder / "serve.log"
    settings = {
        "Routing.Type": "autoclient",
        "Routing.DelegatedRouters": [public_url],
        "HTTPRetrieval.Enabled": True,
        "Gateway.RetrievalTimeout": f"{SEARCH}s",
    }
    with (
        provided(site, port, public_url, log),
        behind_https(name, folder, public, port) as authority,
        kubo_node(folder / "repo", settings=settings, authority=authority) as node,
    ):
        yield Network(HttpProvider(parse_public_url(public_url)), node, log)


@pytest.fixture(scope="module")
def networks(
    site: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], Network]]:
    """Start the network of each proxy once, when it is first asked for."""
    with ExitStack() as running:
        yield cache(
            lambda name: running.enter_context(network(name, site, tmp_path_factory.mktemp(name)))
        )


@pytest.fixture(params=PROXIES)
def net(request: pytest.FixtureRequest, networks: Callable[[str], Network]) -> Network:
    return networks(request.param)


def providers(node: KuboNode, cid: str) -> list[dict[str, Any]]:
    """Return what `ipfs routing findprovs` finds."""
    lines = node.api("routing/findprovs", cid).splitlines()
    found = [json.loads(line) for line in lines]
    return [each for line in found if line["Type"] == 4 for each in line["Responses"]]


def test_kubo_fetches_an_artifact_by_its_cid(net: Network) -> None:
    assert Digest.of(net.node.api("cat", str(DAG.root))) == Digest.of(ROOTFS)
    assert {line["status"] for line in net.requests("/routing/v1/providers/")} == {200}
    blocks = net.requests("/ipfs/")
    assert {line["status"] for line in blocks} == {200}
    assert len(blocks) >= 50
    assert json.loads(net.node.api("swarm/peers"))["Peers"] is None


def test_kubo_is_told_the_provider_by_its_public_url(net: Network) -> None:
    # The node would name itself too for a block that it has fetched.
    (found,) = providers(net.node, raw_cid(Digest.of(KERNEL)))
    assert found == {"ID": net.provider.peer_id, "Addrs": [net.provider.multiaddr]}


def test_kubo_fetches_the_manifest_by_the_ipns_name(net: Network, site: Path) -> None:
    manifest = (site / MANIFEST[1:]).read_bytes()
    assert net.node.api("cat", f"/ipns/{NAME}") == manifest


def test_kubo_finds_no_provider_of_an_absent_cid_and_gives_up(net: Network) -> None:
    assert providers(net.node, str(ABSENT)) == []
    began = time.monotonic()
    assert ask(f"{net.node.gateway_url}/ipfs/{ABSENT}?format=raw").status == 504
    assert time.monotonic() - began < 4 * SEARCH
    assert net.node.api("cat", raw_cid(Digest.of(KERNEL))) == KERNEL
