"""Addresses of libp2p: what is read, in both forms, and what is refused."""

from __future__ import annotations

import pytest

from phase_boot.content.multiaddr import MAX_BYTES, Multiaddr
from phase_boot.content.peer_id import PeerId

ED25519 = "12D3KooWN23oVDV3Bm7JjRyG2fq5VQBwMxqGEcm7QyWwSRNpXYdv"
RSA = "QmbLHAnMoJPWSCR5Zhtx6BHJX9KiKNN6tpvbUcqanj75Nb"


@pytest.mark.parametrize("text", [ED25519, RSA])
def test_a_peer_id_has_one_spelling(text: str) -> None:
    peer = PeerId.parse(text)
    assert str(peer) == text
    assert PeerId(peer.multihash) == peer


@pytest.mark.parametrize(
    "text", ["", "0OIl", "Qm", ED25519 + "1", "1", "1" * 60, "z" * 61, "k51qzi5uqu5dg", RSA[:-1]]
)
def test_a_text_that_is_no_peer_id_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="peer id"):
        PeerId.parse(text)


@pytest.mark.parametrize(
    ("text", "tcp"),
    [
        (f"/ip4/192.0.2.7/tcp/4001/p2p/{ED25519}", ("192.0.2.7", 4001)),
        (f"/ip6/2001:db8::7/tcp/4001/p2p/{RSA}", ("2001:db8::7", 4001)),
        (f"/dns4/node.example/tcp/443/p2p/{ED25519}", ("node.example", 443)),
        ("/ip4/192.0.2.7/tcp/4001", ("192.0.2.7", 4001)),
        ("/dns4/node.example/tcp/443/tls/http", None),
        ("/ip4/192.0.2.7/tcp/80/http", None),
        (f"/p2p/{ED25519}", None),
    ],
)
def test_an_address_says_where_a_peer_listens(text: str, tcp: tuple[str, int] | None) -> None:
    address = Multiaddr.parse(text)
    assert str(address) == text
    assert address.tcp == tcp
    assert str(address.peer or "") == text.partition("/p2p/")[2]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/",
        "ip4/192.0.2.7/tcp/4001",
        "/ip4/192.0.2.7/tcp/0",
        "/ip4/192.0.2.7/tcp/65536",
        "/ip4/192.0.2.7/tcp/٤",
        "/ip4/192.0.2.7/tcp",
        "/ip4/0x7f.1/tcp/4001",
        "/ip4/192.0.2.7/udp/4001/quic-v1",
        "/ip4/192.0.2.7/tcp/4001/ws",
        "/dnsaddr/bootstrap.example",
        "/dns4/a b/tcp/1",
        "/dns4/a@b/tcp/1",
        f"/ip4/192.0.2.7/tcp/4001/p2p/{RSA}/p2p-circuit",
        "/tcp/1" * 9,
        "/ip4/" + "1" * 600,
    ],
)
def test_an_address_of_another_transport_or_none_at_all_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        Multiaddr.parse(text)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (bytes.fromhex("04c0000207060fa1"), "/ip4/192.0.2.7/tcp/4001"),
        (
            bytes.fromhex("29" + "20010db8" + "00" * 11 + "07" + "060fa1"),
            "/ip6/2001:db8::7/tcp/4001",
        ),
        (
            bytes.fromhex("360c") + b"node.example" + bytes.fromhex("0601bbc003e003"),
            "/dns4/node.example/tcp/443/tls/http",
        ),
        (
            b"\xa5\x03\x26" + PeerId.parse(ED25519).multihash,
            f"/p2p/{ED25519}",
        ),
    ],
)
def test_the_binary_form_of_an_address_is_read(data: bytes, text: str) -> None:
    assert str(Multiaddr.from_bytes(data)) == text
    for end in range(len(data)):
        try:
            shorter = Multiaddr.from_bytes(data[:end])
        except ValueError:
            continue
        assert text.startswith(str(shorter))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        bytes.fromhex("04c00002"),
        bytes.fromhex("04c00002070600"),
        bytes.fromhex("04c0000207060000"),
        bytes.fromhex("04c000020791020fa1cd03"),
        bytes.fromhex("360c") + b"node.examp\xffe" + bytes.fromhex("0601bb"),
        b"\xa5\x03\x02Qm",
        bytes.fromhex("0601bb") * 9,
        bytes(MAX_BYTES + 1),
    ],
)
def test_a_binary_address_that_is_cut_or_of_another_transport_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        Multiaddr.from_bytes(data)
