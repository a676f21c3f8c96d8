"""Redirects: which are followed, and that the others are named."""

from __future__ import annotations

import socket
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from phase_boot.adapters.http.fetcher import HttpFetcher
from phase_boot.adapters.http.redirects import Redirects
from phase_boot.adapters.http.resolver import Resolver, Scopes, TooNear
from phase_boot.ports.fetcher import FetchFailed, Intercepted
from phase_boot.trust.ipns_name import IpnsName
from phase_boot.url import DISTANCE, Scope, Url, scope_of
from policies.model import Reach
from tests.support.http_server import BODY, ok, page, server

STATUSES = ["301 a", "302 a", "303 a", "307 a", "308 a"]


def to(place: str, status: str = "302 Found") -> bytes:
    return ok(b"", f"Location: {place}", status=status)


def way(
    url: str = "https://mirror.example/x", *, most: int = 5, document: bool = False
) -> Redirects:
    return Redirects(Url.parse(url), limit=most, document=document)


def paths(head: str) -> str:
    return head.split(" ", 2)[1]


async def streamed(
    answer: Callable[[str], bytes],
    *,
    redirects: int = 5,
    near: Callable[[str], bool] = lambda _: True,
    reach: Reach = Reach.INTERNET,
) -> bytes:
    http = HttpFetcher(stall_seconds=5, near=near)
    try:
        async with server(answer) as url:
            pieces = http.stream(url, offset=0, size=len(BODY), reach=reach, redirects=redirects)
            return b"".join([piece async for piece in pieces])
    finally:
        await http.close()


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("place", ["/y/z?sig=a%2Fb", "y/z?sig=a%2Fb", "./q/../y/z?sig=a%2Fb"])
async def test_a_redirect_on_the_same_server_is_followed(status: str, place: str) -> None:
    asked: list[str] = []

    def answer(head: str) -> bytes:
        asked.append(paths(head))
        return to(place, status) if len(asked) == 1 else ok(BODY)

    assert await streamed(answer) == BODY
    assert asked == ["/x", "/y/z?sig=a%2Fb"]


async def test_an_artifact_and_its_ranges_may_be_redirected_to_another_host() -> None:
    asked: list[str] = []

    def elsewhere(head: str) -> bytes:
        asked.append(head)
        return ok(BODY[7:107], "Content-Range: bytes 7-106/*", status="206 Partial Content")

    async with server(elsewhere) as far, server(lambda _: to(far)) as url:
        http = HttpFetcher(stall_seconds=5)
        pieces = http.span(url, offset=7, length=100, reach=Reach.INTERNET, redirects=1)
        assert b"".join([piece async for piece in pieces]) == BODY[7:107]
        await http.close()
    assert "Range: bytes=7-106" in asked[0]
    assert "Authorization" not in asked[0]
    assert "Cookie" not in asked[0]
    assert "Referer" not in asked[0]


async def test_no_cookie_is_carried_from_one_request_to_the_next() -> None:
    asked: list[str] = []

    def answer(head: str) -> bytes:
        asked.append(head)
        return ok(b"{}", "Set-Cookie: who=you; Path=/")

    http = HttpFetcher(stall_seconds=5)
    async with server(answer) as url:
        for _ in range(2):
            named = url.replace("127.0.0.1", "localhost")
            await http.read(named, limit=10, reach=Reach.INTERNET)
    await http.close()
    assert not any("Cookie" in head for head in asked)


async def test_a_redirect_loop_is_named_and_requested_once() -> None:
    asked: list[str] = []

    def answer(head: str) -> bytes:
        asked.append(paths(head))
        return to("/x")

    with pytest.raises(FetchFailed, match=r"in a loop, to http://127.0.0.1:\d+/x") as caught:
        await streamed(answer)
    assert not caught.value.retryable
    assert asked == ["/x"]


async def test_the_policys_number_of_redirects_is_kept() -> None:
    asked: list[str] = []

    def answer(head: str) -> bytes:
        asked.append(paths(head))
        return to(f"/{len(asked)}")

    with pytest.raises(FetchFailed, match=r"more than 3 times, last to http://.*/4"):
        await streamed(answer, redirects=3)
    assert asked == ["/x", "/1", "/2", "/3"]


async def test_each_hop_stays_in_the_reach_of_the_mode() -> None:
    asked: list[str] = []

    def answer(head: str) -> bytes:
        asked.append(paths(head))
        return to("http://127.0.0.9:1/x")

    with pytest.raises(FetchFailed, match=r"beyond this network, and 127.0.0.9"):
        await streamed(answer, near=lambda host: host == "127.0.0.1", reach=Reach.LAN)
    assert asked == ["/x"]


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ("http://mirror.example/x", "from https to http://mirror.example/x"),
        ("http://other.example/x", "from https to http://other.example/x"),
        ("ftp://mirror.example/x", "ftp://mirror.example/x, which is refused"),
        ("javascript:alert(1)", "which is refused"),
        ("https://u:p@other.example/", "a user name"),
        ("https://127.0.0.1/x", "a server farther away may not send us to"),
        ("https://localhost/x", "a server farther away may not send us to"),
        ("https://[::1]/x", "a server farther away may not send us to"),
        ("https://[::ffff:10.0.0.1]/x", "a server farther away may not send us to"),
        ("https://169.254.169.254/latest", "a server farther away may not send us to"),
        ("https://[fe80::1]/x", "a server farther away may not send us to"),
        ("https://10.0.0.1/x", "a server farther away may not send us to"),
        ("https://224.0.0.1/x", "a server farther away may not send us to"),
        ("https://mirror.example/x", "in a loop"),
        ("/x", "in a loop"),
        ("", "without saying where"),
    ],
)
@pytest.mark.parametrize("document", [False, True])
def test_a_redirect_that_is_not_followed_is_named(
    place: str,
    reason: str,
    document: bool,  # noqa: FBT001 - a case
) -> None:
    going = way(document=document)
    with pytest.raises(FetchFailed, match=reason) as caught:
        going.follow(place, Scope.PUBLIC)
    assert not isinstance(caught.value, Intercepted)
    assert not caught.value.retryable
    assert str(caught.value).isprintable()
    assert str(going.url) == "https://mirror.example/x"


@pytest.mark.parametrize(
    ("start", "allowed"),
    [
        (Scope.OWN, {Scope.OWN, Scope.LINK, Scope.PRIVATE, Scope.PUBLIC}),
        (Scope.LINK, {Scope.LINK, Scope.PRIVATE, Scope.PUBLIC}),
        (Scope.PRIVATE, {Scope.PRIVATE, Scope.PUBLIC}),
        (Scope.PUBLIC, {Scope.PUBLIC}),
    ],
)
def test_a_redirect_leads_to_nothing_nearer_than_its_server(
    start: Scope, allowed: set[Scope]
) -> None:
    examples = {
        Scope.OWN: "127.0.0.1",
        Scope.LINK: "169.254.0.7",
        Scope.PRIVATE: "10.0.0.7",
        Scope.PUBLIC: "8.8.8.8",
    }
    assert {scope_of(host) for host in examples.values()} == set(DISTANCE)
    for scope, host in examples.items():
        going = way("http://mirror.example/x")
        if scope in allowed:
            going.follow(f"http://{host}/y", start)
            assert going.url.host == host
        else:
            with pytest.raises(FetchFailed):
                going.follow(f"http://{host}/y", start)


def test_a_second_redirect_does_not_lift_the_restriction_of_the_first() -> None:
    going = way("http://mirror.example/x")
    going.follow("http://8.8.8.8/y", Scope.PUBLIC)
    # A name that resolves into this network would be refused; were it not, the rule still holds.
    with pytest.raises(FetchFailed, match="farther away"):
        going.follow("http://10.0.0.1/z", Scope.PRIVATE)


def test_a_document_may_move_to_another_https_host_and_the_target_is_noted() -> None:
    going = way(document=True)
    going.follow("https://cdn.example/x?sig=1", Scope.PUBLIC)
    going.follow("/y", Scope.PUBLIC)
    assert going.moved == ["https://cdn.example/x?sig=1"]
    assert str(going.url) == "https://cdn.example/y"


@pytest.mark.parametrize("place", ["http://portal.example/login", "https://portal.example/login"])
def test_a_document_over_plain_http_that_moves_to_another_host_is_a_portals(place: str) -> None:
    with pytest.raises(Intercepted, match=f"it sent us to {place}"):
        way("http://mirror.example/x", document=True).follow(place, Scope.PUBLIC)


async def test_a_document_follows_its_own_server_from_http_to_https_paths() -> None:
    going = way("http://mirror.example/x", document=True)
    going.follow("https://mirror.example/x", Scope.PUBLIC)
    assert str(going.url) == "https://mirror.example/x"
    assert going.moved == []


async def test_a_page_that_an_artifact_was_redirected_to_is_a_portals_and_no_lie() -> None:
    form = page(b"<html>sign in</html>", "text/html")
    async with server(lambda _: form) as portal:
        other = portal.replace("127.0.0.1", "localhost")
        with pytest.raises(Intercepted, match="it sent us to http://localhost"):
            await streamed(lambda _: to(other))


@pytest.mark.parametrize("inner", ["127.0.0.2", "127.0.0.1"])
async def test_a_name_that_resolves_to_a_nearer_scope_is_not_connected_to(inner: str) -> None:
    """127.0.0.1 plays a server of the Internet; 127.0.0.2 is this machine."""
    asked: list[str] = []

    def scope(host: str) -> Scope:
        return Scope.PUBLIC if host == "127.0.0.1" else scope_of(host)

    async def lookup(host: str) -> list[tuple[int, int, str]]:
        assert host == "evil.example"
        return [(socket.AF_INET, socket.IPPROTO_TCP, inner)]

    def answer(head: str) -> bytes:
        asked.append(paths(head))
        port = head.partition("Host: ")[2].partition("\r")[0].rpartition(":")[2]
        return to(f"http://evil.example:{port}/y") if asked == ["/x"] else ok(BODY)

    http = HttpFetcher(stall_seconds=5, scopes=Scopes(scope, lookup))
    async with server(answer) as url:
        got = http.span(url, offset=0, length=len(BODY), reach=Reach.INTERNET, redirects=1)
        if inner == "127.0.0.1":
            assert b"".join([piece async for piece in got]) == BODY
            assert asked == ["/x", "/y"]
        else:
            with pytest.raises(FetchFailed, match=r"where it may not: evil.example has no address"):
                await anext(got)
            assert asked == ["/x"]
    await http.close()


async def test_only_addresses_of_the_allowed_scope_are_used() -> None:
    async def lookup(_host: str) -> list[tuple[int, int, str]]:
        four, six = socket.AF_INET, socket.AF_INET6
        return [(four, 6, "10.0.0.1"), (six, 6, "fe80::1%2"), (four, 6, "8.8.8.8")]

    scopes = Scopes(lookup=lookup)
    hosts = {
        farthest: [each["host"] for each in await Resolver(scopes, farthest).resolve("h", 80)]
        for farthest in (None, Scope.OWN, Scope.PRIVATE, Scope.PUBLIC)
    }
    every = ["10.0.0.1", "fe80::1%2", "8.8.8.8"]
    far = ["10.0.0.1", "8.8.8.8"]
    assert list(hosts.values()) == [every, every, far, ["8.8.8.8"]]
    assert scopes.of("h") is Scope.PUBLIC
    assert scopes.of("never-resolved.example") is Scope.PUBLIC


async def test_the_systems_own_look_up_finds_this_machine() -> None:
    scopes = Scopes(lambda host: Scope.NAME if host == "localhost" else scope_of(host))
    assert await Resolver(scopes, None).resolve("localhost", 80)
    assert scopes.of("localhost") is Scope.OWN
    with pytest.raises(TooNear):
        await Resolver(scopes, Scope.LINK).resolve("localhost", 80)


def test_the_scopes_are_ordered_by_distance() -> None:
    order = [Scope.OWN, Scope.LINK, Scope.PRIVATE, Scope.PUBLIC]
    assert all(DISTANCE[near] < DISTANCE[far] for near, far in pairwise(order))


async def test_no_password_of_a_netrc_file_is_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login you password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    asked: list[str] = []

    def answer(head: str) -> bytes:
        asked.append(head)
        return to("/y") if len(asked) == 1 else ok(BODY)

    assert await streamed(answer) == BODY
    assert len(asked) == 2
    assert not any("Authorization" in head for head in asked)


async def test_a_proxy_of_the_environment_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def answer(head: str) -> bytes:
        asked.append(head.splitlines()[0])
        far = "http://other.example/y"
        return to(far) if "mirror.example" in asked[-1] else ok(BODY)

    async with server(answer) as url:
        monkeypatch.setenv("http_proxy", url.removesuffix("/x"))
        http = HttpFetcher(stall_seconds=5)
        pieces = http.stream(
            "http://mirror.example/x",
            offset=0,
            size=len(BODY),
            reach=Reach.INTERNET,
            redirects=1,
        )
        assert b"".join([piece async for piece in pieces]) == BODY
        await http.close()
    assert asked == [
        "GET http://mirror.example/x HTTP/1.1",
        "GET http://other.example/y HTTP/1.1",
    ]


async def test_a_proxy_beyond_the_reach_of_the_mode_is_not_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []

    def answer(head: str) -> bytes:
        asked.append(head)
        return ok(BODY)

    async with server(answer) as proxy:
        monkeypatch.setenv("http_proxy", proxy.replace("127.0.0.1", "localhost"))
        with pytest.raises(FetchFailed, match="beyond this network, and localhost"):
            await streamed(answer, near=lambda host: host == "127.0.0.1", reach=Reach.LAN)
    assert asked == []


CID = "bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy"
NAME, OTHER_NAME = (str(IpnsName(f"ed25519:{digit * 64}")) for digit in "12")
HOST = "gate.example:8080"


@pytest.mark.parametrize("query", ["", "?format=raw"])
def test_a_gateway_may_send_a_document_to_its_own_subdomain(query: str) -> None:
    hops = way(f"http://{HOST}/ipfs/{CID}{query}", document=True)
    hops.follow(f"http://{CID}.ipfs.{HOST}/{query}", Scope.PUBLIC)
    assert str(hops.url) == f"http://{CID}.ipfs.{HOST}/{query}"
    assert not hops.moved


@pytest.mark.parametrize(
    ("path", "subdomain"),
    [
        (f"/ipns/{NAME}/stable/amd64/manifest.json", f"{NAME}.ipns"),
        (f"/ipfs/{CID}/stable/amd64/manifest.json", f"{CID}.ipfs"),
    ],
)
def test_a_gateway_may_send_a_document_of_a_folder_to_the_subdomain_of_the_folder(
    path: str, subdomain: str
) -> None:
    hops = way(f"http://{HOST}{path}", document=True)
    target = f"http://{subdomain}.{HOST}/stable/amd64/manifest.json"
    hops.follow(target, Scope.PUBLIC)
    assert str(hops.url) == target
    assert not hops.moved


@pytest.mark.parametrize(
    "target",
    [
        f"http://{NAME}.ipns.other.example:8080/root/1.json",
        f"http://{NAME}.ipfs.{HOST}/root/1.json",
        f"http://{OTHER_NAME}.ipns.{HOST}/root/1.json",
        f"http://{NAME}.ipns.{HOST}/root/2.json",
        f"http://{NAME}.ipns.{HOST}/",
        f"http://{NAME}.ipns.{HOST}//root/1.json",
        f"http://{NAME}.ipns.{HOST}/root/1.json?to=elsewhere",
        f"https://{NAME}.ipns.{HOST}/root/1.json",
        f"http://{NAME}.ipns.gate.example/root/1.json",
        f"http://other.{NAME}.ipns.{HOST}/root/1.json",
    ],
)
def test_a_gateway_may_send_a_document_of_a_name_to_no_other_host_or_path(target: str) -> None:
    hops = way(f"http://{HOST}/ipns/{NAME}/root/1.json", document=True)
    with pytest.raises(Intercepted):
        hops.follow(target, Scope.PUBLIC)


@pytest.mark.parametrize(
    "target",
    [
        f"http://{CID}.ipfs.other.example:8080/",
        f"http://{CID}.ipfs.{HOST}1/",
        f"http://{CID}.ipfs.gate.example/",
        f"https://{CID}.ipfs.{HOST}/",
        f"http://{CID}.ipns.{HOST}/",
        f"http://{CID}.{HOST}/",
        f"http://other.{CID}.ipfs.{HOST}/",
        f"http://{CID[:-1]}a.ipfs.{HOST}/",
        f"http://{CID}.ipfs.{HOST}/login",
        f"http://{CID}.ipfs.{HOST}/?to=elsewhere",
    ],
)
def test_a_gateway_may_send_a_document_to_no_other_host(target: str) -> None:
    hops = way(f"http://{HOST}/ipfs/{CID}", document=True)
    with pytest.raises(Intercepted):
        hops.follow(target, Scope.PUBLIC)


@pytest.mark.parametrize(
    "path",
    ["/x", f"/ipfs/{CID}/x", f"/os/ipfs/{CID}", "/ipfs/x", f"/ipns/{CID}", "/ipfs", "/ipfs//"],
)
def test_another_request_than_that_of_a_cid_has_no_subdomain(path: str) -> None:
    hops = way(f"http://{HOST}{path}", document=True)
    with pytest.raises(Intercepted):
        hops.follow(f"http://{CID}.ipfs.{HOST}/", Scope.PUBLIC)


def test_a_subdomain_counts_as_a_redirect_where_none_is_followed() -> None:
    hops = way(f"http://{HOST}/ipfs/{CID}", document=True, most=0)
    with pytest.raises(FetchFailed, match="no redirect is followed"):
        hops.follow(f"http://{CID}.ipfs.{HOST}/", Scope.PUBLIC)
