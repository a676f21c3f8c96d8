from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from phase_boot.provider.addresses import client_address
from phase_boot.provider.eviction import Entry, victim

FLOODER, HONEST, NEW = "192.0.2.66", "192.0.2.1", "192.0.2.2"


def entries(*held: tuple[str, int, bool]) -> list[Entry[str]]:
    """Return a table: an address, how many entries it has, and whether they are idle."""
    return [
        Entry(f"{address} {number}", client_address(address), idle, number)
        for address, count, idle in held
        for number in range(count)
    ]


def test_the_address_with_the_most_idle_entries_loses_its_oldest() -> None:
    table = entries((HONEST, 60, False), (FLOODER, 40, True))
    assert victim(table, client_address(NEW)) == f"{FLOODER} 0"


def test_without_idle_entries_the_address_with_the_most_loses_one() -> None:
    table = entries((HONEST, 3, False), (FLOODER, 40, False))
    assert victim(table, client_address(NEW)) == f"{FLOODER} 0"


def test_a_flooder_takes_nothing_in_use_from_others_and_replaces_what_is_idle_of_its_own() -> None:
    busy = entries((HONEST, 5, False), (FLOODER, 40, False))
    assert victim(busy, client_address(FLOODER)) is None
    idle = entries((HONEST, 5, True), (FLOODER, 40, True))
    assert victim(idle, client_address(FLOODER)) == f"{FLOODER} 0"


def test_a_newcomer_with_many_in_use_replaces_what_a_smaller_flood_leaves_idle() -> None:
    table = entries((NEW, 300, False), (FLOODER, 200, True))
    assert victim(table, client_address(NEW)) == f"{FLOODER} 0"


def test_addresses_with_one_entry_in_use_each_lose_none() -> None:
    used = entries(*((f"198.51.100.{n}", 1, False) for n in range(200)))
    assert victim(used, client_address(NEW)) is None
    idle = entries(*((f"198.51.100.{n}", 1, True) for n in range(200)))
    assert victim(idle, client_address(NEW)) is not None


def test_within_an_ipv6_network_the_host_with_the_most_loses_one() -> None:
    table = entries(("2001:db8::1", 1, False), ("2001:db8::66", 40, False), (HONEST, 30, False))
    assert victim(table, client_address("2001:db8::2"), same_network=True) == "2001:db8::66 0"
    assert victim(table, client_address("::ffff:192.0.2.2")) == "2001:db8::66 0"


def test_a_network_at_its_limit_takes_nothing_from_another_one() -> None:
    table = entries((HONEST, 90, True), ("2001:db8::1", 1, False))
    assert victim(table, client_address("2001:db8::2"), same_network=True) is None


ADDRESSES = st.sampled_from(
    ["192.0.2.1", "192.0.2.2", "::ffff:192.0.2.1", "2001:db8::1", "2001:db8::2", "2001:db8:0:1::1"]
)


@given(st.lists(st.tuples(ADDRESSES, st.integers(1, 9), st.booleans()), max_size=8), ADDRESSES)
def test_no_eviction_in_use_leaves_a_network_with_less_than_the_newcomer_gets(
    held: list[tuple[str, int, bool]], newcomer: str
) -> None:
    table = [
        Entry(number, each.client, each.idle, each.rank)
        for number, each in enumerate(entries(*held))
    ]
    evicted = victim(table, client_address(newcomer))
    if evicted is None:
        return
    lost = table[evicted]
    left = [each for each in table if each.key != evicted]
    network = client_address(newcomer).network
    mine = sum(each.client.network == network for each in left) + 1
    theirs = sum(each.client.network == lost.client.network for each in left)
    assert lost.idle or lost.client.network == network or theirs >= mine
