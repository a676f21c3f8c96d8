"""Snapshots of the links, and notifications of their changes."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from pathlib import Path

import pytest

from phase_boot.adapters.net.address_watch import AddressWatch
from phase_boot.adapters.net.netlink import NetworkChanges
from phase_boot.machine.errors import NoNetwork


async def test_the_first_snapshot_comes_at_once_and_has_the_loopback_last() -> None:
    async with aclosing(AddressWatch(loopback=True).changes()) as snapshots:
        links = await anext(snapshots)
    assert links[-1].interface == "lo"


async def test_an_interface_that_may_not_be_used_is_no_link(tmp_path: Path) -> None:
    watch = AddressWatch(loopback=True, root=tmp_path, permitted=lambda name: name != "lo")
    async with aclosing(watch.changes()) as snapshots:
        assert "lo" not in {link.interface for link in await anext(snapshots)}


@pytest.mark.parametrize(("flags", "usable"), [("80", True), ("44", True), ("40", False)])
async def test_an_ipv6_address_is_usable_once_it_is_known_to_be_unique(
    tmp_path: Path, flags: str, *, usable: bool
) -> None:
    table = tmp_path / "proc/net/if_inet6"
    table.parent.mkdir(parents=True)
    table.write_text(f"{1:032x} 01 80 10 {flags}       lo\n")
    async with aclosing(AddressWatch(loopback=True, root=tmp_path).changes()) as snapshots:
        (link,) = (each for each in await anext(snapshots) if each.interface == "lo")
    assert ("::1/128" in link.addresses) is usable


async def test_a_wait_ends_without_news_so_that_a_lost_notification_costs_seconds() -> None:
    with NetworkChanges() as changes:
        async with asyncio.timeout(30):
            await changes.wait()


async def test_a_link_that_never_comes_is_given_up_in_time(tmp_path: Path) -> None:
    watch = AddressWatch(loopback=True, root=tmp_path, permitted=lambda _: False)
    async with asyncio.timeout(30):
        with pytest.raises(NoNetwork, match=r"within 0\.1 seconds"):
            await watch.link(0.1)
