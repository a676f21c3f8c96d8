"""`phase-boot announce --import` makes a SITE available through kubo nodes."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest

from phase_boot.cli.main import main
from phase_boot.content.cid import Cid
from phase_boot.content.digest import Digest
from phase_boot.store.layout import entry_path
from tests.support.announced_site import STABLE, stored
from tests.support.block_servers import FILES, ROOTFS, artifact, dag_of, make_dag_site
from tests.support.kubo import CommandFailed, KuboNode, kubo_node

pytestmark = pytest.mark.interop

ROOT = dag_of("rootfs").root
TOTAL = len(FILES) + 1


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[KuboNode, KuboNode]]:
    """Return two nodes that know each other and nothing else."""
    folder = tmp_path_factory.mktemp("kubo")
    with kubo_node(folder / "one") as one, kubo_node(folder / "other") as other:
        one.connect(other)
        yield one, other


@pytest.fixture
def nodes(pair: tuple[KuboNode, KuboNode]) -> tuple[KuboNode, KuboNode]:
    """Return the two without a block."""
    for node in pair:
        node.clear()
    return pair


@pytest.fixture
def site(tmp_path: Path) -> Path:
    return make_dag_site(tmp_path)


def announce(site: Path, node: KuboNode, *words: str) -> Mapping[str, Any]:
    """Announce through a node, and return what is said of its blocks.

    The status is of the record too, and the nodes keep that of the test before.
    """
    named = ["announce", str(site), "--kubo", node.api_url, "--json", *words]
    signing = [] if "--check" in words else ["--key", str(site.parent / "announcer.key")]
    with redirect_stdout(io.StringIO()) as printed, redirect_stderr(io.StringIO()):
        main([*named, *signing])
    lines = map(json.loads, printed.getvalue().splitlines())
    blocks: Mapping[str, Any]
    (blocks,) = (line for line in lines if line["kind"] == "blocks")
    return blocks


def pins(node: KuboNode) -> set[str]:
    return set(json.loads(node.api("pin/ls", type="recursive")).get("Keys") or ())


def roots_of(site: Path) -> set[str]:
    manifest = stored(site).announcement.places[STABLE].manifest_cid
    return {str(manifest), *(str(dag_of(name).root) for name in FILES)}


def test_an_empty_node_gets_the_site_and_another_one_reads_it_by_cid(
    nodes: tuple[KuboNode, KuboNode], site: Path
) -> None:
    one, other = nodes
    blocks = announce(site, one, "--import")
    assert blocks["good"]
    assert (blocks["held"], blocks["imported"], blocks["provided"]) == (TOTAL, TOTAL, TOTAL)
    assert pins(one) == roots_of(site)
    one.api("repo/gc")
    with pytest.raises(CommandFailed):
        other.cat(str(ROOT))
    for name, data in FILES.items():
        assert Digest.of(other.api("cat", str(dag_of(name).root))) == Digest.of(data)
    manifest = stored(site).announcement.places[STABLE].manifest_cid
    assert Cid.of(manifest.codec, other.api("block/get", str(manifest))) == manifest


def test_another_run_sends_nothing_again(nodes: tuple[KuboNode, KuboNode], site: Path) -> None:
    announce(site, nodes[0], "--import")
    (site / entry_path(artifact("rootfs").digest)).unlink()
    blocks = announce(site, nodes[0], "--import")
    assert (blocks["good"], blocks["held"], blocks["imported"]) == (True, TOTAL, 0)


def test_without_import_a_node_gets_nothing_and_provides_what_it_holds(
    nodes: tuple[KuboNode, KuboNode], site: Path
) -> None:
    blocks = announce(site, nodes[0])
    assert (blocks["good"], blocks["fault"], blocks["held"]) == (False, "lacking", 0)
    assert pins(nodes[0]) == set()
    announce(site, nodes[0], "--import")
    blocks = announce(site, nodes[0])
    assert (blocks["good"], blocks["held"], blocks["provided"]) == (True, TOTAL, TOTAL)


def test_a_dag_that_lacks_a_leaf_is_not_held_and_import_completes_it(
    nodes: tuple[KuboNode, KuboNode], site: Path
) -> None:
    node = nodes[0]
    announce(site, node, "--import")
    leaf = node.api("refs", str(ROOT)).splitlines()[1]
    node.api("pin/rm", str(ROOT))
    node.api("block/rm", json.loads(leaf)["Ref"])
    blocks = announce(site, node)
    assert (blocks["good"], blocks["fault"], blocks["cid"]) == (False, "lacking", str(ROOT))
    blocks = announce(site, node, "--import")
    assert (blocks["good"], blocks["imported"]) == (True, 1)
    assert Digest.of(node.cat(str(ROOT))) == Digest.of(ROOTFS)


def test_a_damaged_file_is_neither_pinned_nor_provided(
    nodes: tuple[KuboNode, KuboNode], site: Path
) -> None:
    changed = bytearray(ROOTFS)
    changed[100_000] ^= 1
    (site / entry_path(artifact("rootfs").digest)).write_bytes(changed)
    blocks = announce(site, nodes[0], "--import")
    assert (blocks["good"], blocks["fault"], blocks["cid"]) == (False, "not_sent", str(ROOT))
    assert (blocks["held"], blocks["provided"]) == (TOTAL - 1, TOTAL - 1)
    assert pins(nodes[0]) == roots_of(site) - {str(ROOT)}


def test_a_check_says_what_a_node_holds_and_whether_the_dht_names_a_provider(
    nodes: tuple[KuboNode, KuboNode], site: Path
) -> None:
    one, other = nodes
    announce(site, one, "--import")
    blocks = announce(site, one, "--check")
    assert (blocks["good"], blocks["held"], blocks["found"]) == (True, TOTAL, TOTAL)
    blocks = announce(site, other, "--check")
    assert (blocks["good"], blocks["held"], blocks["found"]) == (True, 0, TOTAL)


def test_a_node_without_peers_gets_the_site_and_cannot_provide_it(
    site: Path, tmp_path: Path
) -> None:
    with kubo_node(tmp_path / "alone") as alone:
        blocks = announce(site, alone, "--import")
        assert (blocks["good"], blocks["held"], blocks["provided"]) == (False, TOTAL, 0)
        assert blocks["fault"] == "not_provided"
        assert "no connected peers" in blocks["reason"]
        blocks = announce(site, alone, "--check")
        assert (blocks["good"], blocks["held"], blocks["fault"]) == (False, TOTAL, "alone")
