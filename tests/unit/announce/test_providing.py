"""A SITE is imported into kubo nodes and provided; what counts is what a node holds afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from phase_boot.announce.providing import look, provide
from phase_boot.announce.provision import Fault, Provision
from phase_boot.announce.servers import Kind, Limits, Server
from phase_boot.announce.site_roots import SiteRoot, site_roots
from phase_boot.content.cid import Cid
from phase_boot.store.layout import entry_path
from tests.support.announced_site import STABLE
from tests.support.block_servers import (
    ROOTFS,
    Answer,
    BlockServer,
    artifact,
    block_server,
    cut,
    dag_of,
    make_dag_site,
    refuse,
    refuse_unread,
    swallow,
    unpinned,
)
from tests.support.record_servers import hang

LIMITS = Limits(kubo_seconds=20, search_seconds=20)
IMPATIENT = Limits(kubo_seconds=1.5, search_seconds=0.5)
"""For nodes that do not answer."""
ROOTFS_DAG = dag_of("rootfs").root


@pytest.fixture
def site(tmp_path: Path) -> Path:
    return make_dag_site(tmp_path)


@pytest.fixture
def roots(site: Path) -> tuple[SiteRoot, ...]:
    return site_roots(site, [STABLE])


@pytest.fixture
def node() -> Iterator[BlockServer]:
    with block_server() as running:
        yield running


async def provided(
    node: BlockServer, site: Path, roots: tuple[SiteRoot, ...], *, imports: bool = True
) -> Provision:
    servers = [Server(Kind.KUBO, node.url)]
    (done,) = await provide(servers, site, roots, limits_for(node), imports=imports)
    return done


def limits_for(node: BlockServer) -> Limits:
    return IMPATIENT if hang in node.faults.values() else LIMITS


async def looked(node: BlockServer, site: Path, roots: tuple[SiteRoot, ...]) -> Provision:
    (done,) = await look([Server(Kind.KUBO, node.url)], site, roots, limits_for(node))
    return done


def counts(done: Provision) -> tuple[int, int, int, int]:
    """Return how many roots there are, are held, were imported, and are provided."""
    return done.total, done.held, done.imported, done.provided


def fault_of(done: Provision) -> tuple[Fault | None, Cid] | None:
    return None if done.fault is None else (done.fault.fault, done.fault.root.cid)


# ---- an honest node ------------------------------------------------------------------------------


async def test_an_empty_node_gets_every_dag_pinned_and_provides_the_roots(
    node: BlockServer, site: Path, roots: tuple[SiteRoot, ...]
) -> None:
    done = await provided(node, site, roots)
    assert (done.good, counts(done), done.fault) == (True, (4, 4, 4, 4), None)
    cids = {root.cid for root in roots}
    assert node.pins == set(node.provided) == cids
    assert all(node.has_dag(cid) for cid in cids)


async def test_what_a_node_has_pinned_is_not_sent_again(
    node: BlockServer, site: Path, roots: tuple[SiteRoot, ...]
) -> None:
    await provided(node, site, roots)
    node.commands.clear()
    done = await provided(node, site, roots)
    assert (done.good, counts(done)) == (True, (4, 4, 0, 4))
    assert {"dag/import", "block/put", "dag/stat"}.isdisjoint(node.commands)


async def test_what_a_node_holds_without_a_pin_is_pinned(
    node: BlockServer, site: Path, roots: tuple[SiteRoot, ...]
) -> None:
    await provided(node, site, roots)
    node.pins.clear()
    assert counts(await provided(node, site, roots)) == (4, 4, 4, 4)
    assert node.pins == {root.cid for root in roots}


async def test_without_import_nothing_is_stored_and_what_is_held_is_provided(
    node: BlockServer, site: Path, roots: tuple[SiteRoot, ...]
) -> None:
    await provided(node, site, roots[:2])
    node.pins.clear()
    kept, provided_before = dict(node.blocks), len(node.provided)
    done = await provided(node, site, roots, imports=False)
    assert (done.good, counts(done)) == (False, (4, 2, 0, 2))
    assert fault_of(done) == (Fault.LACKING, roots[2].cid)
    assert "--import" in done.line()
    assert (node.blocks, node.pins) == (kept, set())
    assert len(node.provided) == provided_before + 2


async def test_a_node_with_the_root_and_without_a_leaf_does_not_hold_the_dag(
    node: BlockServer, site: Path, roots: tuple[SiteRoot, ...]
) -> None:
    await provided(node, site, roots)
    node.pins.clear()
    leaf = next(cid for cid in node.blocks if cid not in {root.cid for root in roots})
    del node.blocks[leaf]
    done = await provided(node, site, roots, imports=False)
    assert (counts(done), fault_of(done)) == ((4, 3, 0, 3), (Fault.LACKING, ROOTFS_DAG))
    assert counts(await provided(node, site, roots))[2] == 4
    assert node.has_dag(ROOTFS_DAG)


async def test_looking_stores_and_provides_nothing(
    node: BlockServer, site: Path, roots: tuple[SiteRoot, ...]
) -> None:
    done = await looked(node, site, roots)
    assert (done.good, done.held, done.found) == (False, 0, 0)
    assert fault_of(done) == (Fault.UNFOUND, roots[0].cid)
    assert not node.blocks
    assert set(node.commands) == {"block/stat", "routing/findprovs"}


async def test_looking_is_good_if_all_roots_have_a_provider(
    node: BlockServer, site: Path, roots: tuple[SiteRoot, ...]
) -> None:
    node.provided = [root.cid for root in roots]
    done = await looked(node, site, roots)
    assert (done.good, done.held, done.found, done.fault) == (True, 0, 4, None)


async def test_a_node_without_peers_that_names_itself_is_not_good(
    node: BlockServer, site: Path, roots: tuple[SiteRoot, ...]
) -> None:
    await provided(node, site, roots)
    node.peers = None
    done = await looked(node, site, roots)
    assert (done.good, done.held, done.found) == (False, 4, 0)
    assert fault_of(done) == (Fault.ALONE, roots[0].cid)


# ---- bad nodes -----------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [hang, cut, refuse, refuse_unread, unpinned])
async def test_an_import_that_fails_is_reported_and_the_rest_is_provided(
    node: BlockServer, site: Path, roots: tuple[SiteRoot, ...], fault: Answer
) -> None:
    node.faults["dag/import"] = fault
    done = await provided(node, site, roots)
    assert (done.good, counts(done)) == (False, (4, 1, 1, 1))
    assert done.fault is not None
    assert done.fault.fault is Fault.FAILED
    assert "\x1b" not in done.line()
    assert node.provided == [roots[0].cid]


@pytest.mark.parametrize("command", ["block/put", "dag/import"])
async def test_a_node_that_says_ok_and_keeps_nothing_is_found_by_reading_back(
    node: BlockServer, site: Path, roots: tuple[SiteRoot, ...], command: str
) -> None:
    node.faults[command] = swallow
    done = await provided(node, site, roots)
    lost = [each for each in done.roots if each.fault is Fault.NOT_KEPT]
    assert len(lost) == (1 if command == "block/put" else 3)
    assert not done.good
    assert set(node.provided) == {root.cid for root in roots} - {each.root.cid for each in lost}


@pytest.mark.parametrize("fault", [hang, refuse])
@pytest.mark.parametrize("command", ["block/stat", "pin/ls"])
async def test_a_node_that_does_not_say_what_it_holds_is_asked_once(
    node: BlockServer, site: Path, roots: tuple[SiteRoot, ...], command: str, fault: Answer
) -> None:
    await provided(node, site, roots)
    node.commands.clear()
    node.faults[command] = fault
    done = await provided(node, site, roots)
    assert (done.good, fault_of(done)) == (False, (Fault.FAILED, roots[0].cid))
    assert node.commands.count(command) == 1
    assert "dag/import" not in node.commands


async def test_a_node_that_fails_after_some_roots_is_named_as_that(
    node: BlockServer, site: Path, roots: tuple[SiteRoot, ...]
) -> None:
    node.faults = {"dag/import": cut, "routing/provide": cut}
    done = await provided(node, site, roots)
    assert (counts(done), fault_of(done)) == ((4, 1, 1, 0), (Fault.FAILED, roots[1].cid))


@pytest.mark.parametrize("fault", [hang, refuse])
async def test_a_root_that_cannot_be_provided_is_reported(
    node: BlockServer, site: Path, roots: tuple[SiteRoot, ...], fault: Answer
) -> None:
    node.faults["routing/provide"] = fault
    done = await provided(node, site, roots)
    assert (done.good, counts(done)) == (False, (4, 4, 4, 0))
    assert fault_of(done) == (Fault.NOT_PROVIDED, roots[0].cid)


async def test_a_search_for_providers_that_does_not_end_finds_none(
    node: BlockServer, site: Path, roots: tuple[SiteRoot, ...]
) -> None:
    node.faults["routing/findprovs"] = hang
    done = await looked(node, site, roots)
    assert (done.good, done.found) == (False, 0)


async def test_a_node_that_is_not_there_has_one_line_and_the_others_are_served(
    node: BlockServer, site: Path, roots: tuple[SiteRoot, ...]
) -> None:
    with block_server() as gone:
        pass
    servers = [Server(Kind.KUBO, gone.url), Server(Kind.KUBO, node.url)]
    absent, good = await provide(servers, site, roots, LIMITS, imports=True)
    assert (absent.place, fault_of(absent)) == (gone.url, (Fault.FAILED, roots[0].cid))
    assert (good.good, counts(good)) == (True, (4, 4, 4, 4))


# ---- a bad SITE ----------------------------------------------------------------------------------


async def test_a_damaged_file_is_not_pinned_and_the_others_are(
    node: BlockServer, site: Path, roots: tuple[SiteRoot, ...]
) -> None:
    changed = bytearray(ROOTFS)
    changed[100_000] ^= 1
    (site / entry_path(artifact("rootfs").digest)).write_bytes(changed)
    done = await provided(node, site, roots)
    assert (counts(done), fault_of(done)) == ((4, 3, 3, 3), (Fault.NOT_SENT, ROOTFS_DAG))
    assert "`phase-boot verify`" in done.line()
    assert ROOTFS_DAG not in {*node.pins, *node.provided}


async def test_a_file_that_goes_away_before_it_is_sent_is_reported(
    node: BlockServer, site: Path, roots: tuple[SiteRoot, ...]
) -> None:
    (site / entry_path(artifact("rootfs").digest)).unlink()
    done = await provided(node, site, roots)
    assert fault_of(done) == (Fault.NOT_SENT, ROOTFS_DAG)
