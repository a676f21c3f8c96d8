"""Replies of delegated routers: what is taken of them, and what never is."""

from __future__ import annotations

import json

import pytest

from phase_boot.download.http_providers import (
    MAX_PROVIDERS,
    MAX_RECORDS,
    providers_in,
    scope_allows_private,
)

PEER = "12D3KooWQYhTNQdmr3ArTeUHRYzFg94BKyTkoWBDWez9kSCVe2Xo"


def record(*addresses: object, schema: str = "peer") -> dict[str, object]:
    return {"Schema": schema, "ID": PEER, "Addrs": list(addresses), "Protocols": ["unknown"]}


def as_json(*records: object) -> bytes:
    return json.dumps({"Providers": records}).encode()


def as_ndjson(*records: object) -> bytes:
    return b"".join(json.dumps(each).encode() + b"\n" for each in records)


@pytest.mark.parametrize("write", [as_json, as_ndjson])
@pytest.mark.parametrize("schema", ["peer", "bitswap"])
def test_http_servers_are_taken_of_both_forms_and_schemas(write: object, schema: str) -> None:
    assert callable(write)
    reply = write(
        record("/ip4/8.8.4.4/tcp/4001", "/dns4/one.example/tcp/443/tls/http", schema=schema),
        record(f"/dns/two.example/tcp/8443/https/p2p/{PEER}", schema=schema),
        record("/ip6/2606:4700::7/tcp/80/http", schema=schema),
    )
    assert providers_in(reply, private=False) == (
        "https://one.example",
        "https://two.example:8443",
        "http://[2606:4700::7]",
    )


@pytest.mark.parametrize(
    "reply", [b"", b"[]", b'{"Providers":[]}', b'{"Providers":null}'], ids=repr
)
def test_a_reply_without_providers_names_none(reply: bytes) -> None:
    assert providers_in(reply, private=False) == ()


@pytest.mark.parametrize(
    "address",
    [
        "/ip4/127.0.0.1/tcp/80/http",
        "/ip4/127.8.8.8/tcp/5001/http",
        "/ip4/0.0.0.0/tcp/80/http",
        "/ip4/169.254.169.254/tcp/80/http",
        "/ip4/224.0.0.1/tcp/80/http",
        "/ip4/255.255.255.255/tcp/80/http",
        "/ip4/203.0.113.7/tcp/80/http/p2p-circuit",
        "/ip6/::1/tcp/80/http",
        "/ip6/fe80::1/tcp/80/http",
        "/ip6/::ffff:127.0.0.1/tcp/80/http",
        "/ip6/::ffff:169.254.169.254/tcp/80/http",
        "/ip6/64:ff9b::7f00:1/tcp/80/http",
        "/dns4/localhost/tcp/80/http",
        "/dns4/a.localhost/tcp/80/http",
        "/dns4/0x7f.1/tcp/80/http",
        "/dns4/user@one.example/tcp/80/http",
        "/dns4/one.example/tcp/0/http",
        "/dns4/one.example/tcp/65536/http",
        "/dns4/one.example/udp/443/quic-v1/http",
        "/dns4/one.example/tcp/443",
        "/dns4/one.example/tcp/443/tls",
        "/dns4/one.example/http",
        "/tcp/80/http",
        "/",
        "",
        "http://one.example",
        "/dns4/" + "a" * 300 + "/tcp/80/http",
    ],
)
def test_an_address_that_may_not_be_asked_is_left_out(address: str) -> None:
    good = "/dns4/good.example/tcp/80/http"
    assert providers_in(as_json(record(address, good)), private=True) == ("http://good.example",)


@pytest.mark.parametrize("host", ["10.0.0.7", "192.168.1.1", "172.16.0.1", "100.64.0.1"])
def test_a_private_address_is_taken_only_where_it_is_allowed(host: str) -> None:
    reply = as_json(record(f"/ip4/{host}/tcp/8080/http"))
    assert providers_in(reply, private=False) == ()
    assert providers_in(reply, private=True) == (f"http://{host}:8080",)


@pytest.mark.parametrize(
    "host",
    [
        "ip4/10.0.0.7",
        "ip6/2606:4700:0::7",
        "ip6/::ffff:10.0.0.7",
        "ip6/::ffff:a00:7",
        "ip6/::ffff:93.184.216.34",
    ],
)
def test_this_machines_own_address_is_never_taken(host: str) -> None:
    reply = as_json(record(f"/{host}/tcp/80/http"))
    own = {"10.0.0.7", "93.184.216.34", "2606:4700::7"}
    assert providers_in(reply, private=True, own=own) == ()


@pytest.mark.parametrize(
    ("router", "allowed"),
    [
        ("https://router.example", False),
        ("http://8.8.4.4", False),
        ("http://192.168.1.1:8080", True),
        ("http://127.0.0.1:8080", True),
        ("no URL", False),
    ],
)
def test_only_a_router_that_is_near_names_private_addresses(router: str, *, allowed: bool) -> None:
    assert scope_allows_private(router) is allowed


def test_a_large_reply_is_read_up_to_its_bounds() -> None:
    many = [record(f"/dns4/h{number}.example/tcp/80/http") for number in range(1000)]
    assert len(providers_in(as_json(*many), private=False)) == MAX_PROVIDERS
    useless = [record("/ip4/127.0.0.1/tcp/80/http")] * MAX_RECORDS
    for write in (as_json, as_ndjson):
        assert providers_in(write(*useless, *many), private=False) == ()
    crowd = ["/ip4/127.0.0.1/tcp/80/http"] * 40 + ["/dns4/one.example/tcp/80/http"]
    assert providers_in(as_json(record(*crowd)), private=False) == ()


@pytest.mark.parametrize(
    "reply",
    [
        as_json(None, 7, "text", [], {}, {"Schema": "peer"}),
        as_json({"Schema": 7, "Addrs": ["/dns4/one.example/tcp/80/http"]}),
        as_json({"Schema": "unknown", "Addrs": ["/dns4/one.example/tcp/80/http"]}),
        as_json({"Schema": "peer", "Addrs": "/dns4/one.example/tcp/80/http"}),
        as_json(record(None, 7, {}, ["/dns4/one.example/tcp/80/http"])),
    ],
    ids=["no records", "schema", "other schema", "no list", "no texts"],
)
def test_records_of_another_form_are_left_out(reply: bytes) -> None:
    assert providers_in(reply, private=False) == ()


@pytest.mark.parametrize(
    "reply",
    [b"<html></html>", b"\xff\xfe", b'"text"', b"7", b'{"Providers":7}', b"[" * 100_000, b"{" * 9],
    ids=["page", "no UTF-8", "text", "number", "no list", "deep", "open"],
)
def test_a_reply_of_another_form_is_refused(reply: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        providers_in(reply, private=False)
