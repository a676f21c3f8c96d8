"""`/routing/v1/providers/<cid>`: one record for what the gateway has, and an empty list else."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path

import pytest

from phase_boot.content.cid import Cid, Codec, raw_cid
from phase_boot.content.digest import Digest
from phase_boot.drill.sample_manifest import INITRAMFS, KERNEL, ROOTFS, document, signed
from phase_boot.provider.gateway.delegated_routing import JSON, NDJSON
from phase_boot.provider.gateway.http_provider import HttpProvider, parse_public_url
from phase_boot.store.layout import entry_path
from phase_boot.trust.ipns_name import IpnsName
from phase_boot.url import BadUrl
from tests.support.ipns_records import ANNOUNCING_KEY
from tests.support.provider import MANIFEST, Answer, ask, make_site, post, running

PROVIDERS = "/routing/v1/providers/"
PUBLIC_URL = "https://boot.example"
SERVED = raw_cid(Digest.of(KERNEL))
ABSENT = raw_cid(Digest.of(b"served by nobody"))
RECORD = {
    "Schema": "peer",
    "ID": HttpProvider(parse_public_url(PUBLIC_URL)).peer_id,
    "Addrs": ["/dns/boot.example/tcp/443/tls/http"],
    "Protocols": ["transport-ipfs-gateway-http"],
}


@pytest.fixture
def site(tmp_path: Path) -> Path:
    root = make_site(tmp_path / "site")
    files = {"kernel": KERNEL, "initramfs": INITRAMFS, "rootfs": ROOTFS}
    named = document(dags={name: raw_cid(Digest.of(data)) for name, data in files.items()})
    (root / MANIFEST[1:]).write_bytes(signed(named))
    return root


async def asked(
    site: Path, name: str, method: str = "GET", url: str | None = PUBLIC_URL, **headers: str
) -> Answer:
    async with running(site, public_url=url) as provider:
        return await ask(provider.port, f"{PROVIDERS}{name}", method, **headers)


def manifest_cid(site: Path) -> str:
    return str(Cid.of(Codec.RAW, (site / MANIFEST[1:]).read_bytes()))


# ---- what is answered ----------------------------------------------------------------------------


async def test_a_served_block_has_one_provider(site: Path) -> None:
    for name in (SERVED, raw_cid(Digest.of(ROOTFS)), manifest_cid(site)):
        answer = await asked(site, name)
        assert (answer.status, json.loads(answer.body)) == (200, {"Providers": [RECORD]})
        assert answer.headers["Content-Type"] == JSON
        assert answer.headers["Cache-Control"] == "public, max-age=300"
        assert answer.headers["Vary"] == "Accept"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


async def test_an_absent_block_has_none_and_the_answer_is_cached_briefly(site: Path) -> None:
    answer = await asked(site, ABSENT)
    assert (answer.status, json.loads(answer.body)) == (200, {"Providers": []})
    assert answer.headers["Cache-Control"] == "public, max-age=15"


async def test_a_stream_has_one_record_on_each_line(site: Path) -> None:
    found = await asked(site, SERVED, Accept=NDJSON)
    assert (found.status, found.headers["Content-Type"]) == (200, NDJSON)
    assert [json.loads(line) for line in found.body.splitlines()] == [RECORD]
    none = await asked(site, ABSENT, Accept=NDJSON)
    assert (none.status, none.headers["Content-Type"], none.body) == (200, NDJSON, b"")


@pytest.mark.parametrize(
    ("accept", "status", "kind"),
    [
        ("", 200, JSON),
        ("*/*", 200, JSON),
        ("application/*", 200, JSON),
        (f"{NDJSON},{JSON}", 200, NDJSON),
        (f"{NDJSON};q=0.5, {JSON}", 200, JSON),
        (f"text/html, {NDJSON};q=0.1", 200, NDJSON),
        (f"{NDJSON};q=0", 406, "text/plain; charset=utf-8"),
        ("text/html", 406, "text/plain; charset=utf-8"),
        ("x" * 5000 + f",{JSON}", 406, "text/plain; charset=utf-8"),
    ],
)
async def test_a_stream_is_sent_only_where_the_accept_header_names_it(
    site: Path, accept: str, status: int, kind: str
) -> None:
    answer = await asked(site, SERVED, Accept=accept)
    assert (answer.status, answer.headers["Content-Type"]) == (status, kind)


async def test_head_has_the_headers_alone(site: Path) -> None:
    whole, head = await asked(site, SERVED), await asked(site, SERVED, "HEAD")
    assert (head.status, head.body) == (200, b"")
    for name in ("Content-Length", "Content-Type", "Cache-Control"):
        assert head.headers[name] == whole.headers[name]


async def test_a_filter_of_the_query_is_left_to_the_client(site: Path) -> None:
    answer = await asked(site, f"{SERVED}?filter-protocols=transport-bitswap&filter-addrs=!https")
    assert json.loads(answer.body) == {"Providers": [RECORD]}


@pytest.mark.parametrize("method", ["PUT", "POST", "DELETE"])
async def test_nobody_can_announce_a_provider(site: Path, method: str) -> None:
    async with running(site, public_url=PUBLIC_URL) as provider:
        refused = await post(provider.port, f"{PROVIDERS}{ABSENT}", b"{}", method=method)
        answer = await ask(provider.port, f"{PROVIDERS}{ABSENT}")
    assert refused.status == 405
    assert json.loads(answer.body) == {"Providers": []}


async def test_without_a_public_url_there_is_no_router(site: Path) -> None:
    for name in (SERVED, ABSENT, "nonsense"):
        assert (await asked(site, name, url=None)).status == 404


async def test_a_version_that_is_published_or_removed_later_counts(site: Path) -> None:
    kernel = site / entry_path(Digest.of(KERNEL))
    kernel.unlink()
    async with running(site, public_url=PUBLIC_URL) as provider:
        assert b"boot.example" not in (await ask(provider.port, PROVIDERS + SERVED)).body
    kernel.write_bytes(KERNEL)
    async with running(site, public_url=PUBLIC_URL) as provider:
        assert b"boot.example" in (await ask(provider.port, PROVIDERS + SERVED)).body
        kernel.write_bytes(bytes(len(KERNEL)))
        assert b"boot.example" not in (await ask(provider.port, PROVIDERS + SERVED)).body


# ---- names that are no CIDs of ours --------------------------------------------------------------


def in_base32(codec: int, prefix: bytes) -> str:
    data = bytes((1, codec)) + prefix + bytes.fromhex(SERVED.encode().hex()[:64])
    return "b" + base64.b32encode(data).decode().rstrip("=").lower()


@pytest.mark.parametrize(
    "name",
    [
        "QmdfTbBqBPQ7VNxZEYEj14VmRuZBkqFbiwReogJgS1zR1n",
        "bafkqaaa",
        str(IpnsName(ANNOUNCING_KEY.keyid)),
        "f01551220" + "00" * 32,
        "zb2rhe5P4gXftAwvA4eXQ5HJwsER2owDyS9sKaQRRVQPn93bA",
        "uAXASIOOwxEKY_BwUmvv0yJlvuSQnrkHkZJuTTKSVmRt4UrhV",
        in_base32(0x71, b"\x12\x20"),
        in_base32(0x55, b"\x1e\x20"),
        SERVED.upper(),
    ],
    ids=[
        *("version 0", "identity", "IPNS name", "base16", "base58", "base64"),
        *("dag-cbor", "blake3", "upper case"),
    ],
)
async def test_any_other_cid_has_no_provider(site: Path, name: str) -> None:
    answer = await asked(site, name)
    assert (answer.status, json.loads(answer.body)) == (200, {"Providers": []})


@pytest.mark.parametrize(
    "name",
    [
        "",
        "nonsense",
        f"{SERVED}/",
        f"/{SERVED}",
        f"{SERVED}/rootfs",
        SERVED[:-1] + "!",
        f"%62{SERVED[1:]}",
        f"../providers/{SERVED}",
        "Qm" + "0" * 44,
        "ba" + "a" * 300,
        "b" + "a" * 7000,
        "../../stable/amd64/manifest.json",
        "\udcff",
    ],
)
async def test_what_is_no_cid_is_refused(site: Path, name: str) -> None:
    answer = await asked(site, name)
    assert answer.status == 400
    assert b"Providers" not in answer.body


async def test_a_look_up_is_one_line_of_the_log(site: Path) -> None:
    async with running(site, public_url=PUBLIC_URL) as provider:
        answer = await ask(provider.port, f"{PROVIDERS}{SERVED}?filter-addrs=https")
        line = await provider.first_request()
        await ask(provider.port, f"{PROVIDERS}nonsense")
    assert (line.path, line.status, line.error) == (PROVIDERS + SERVED, 200, None)
    assert line.bytes == len(answer.body)
    assert [each.status for each in provider.requests] == [200, 400]


# ---- the address ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "multiaddr"),
    [
        ("https://boot.example", "/dns/boot.example/tcp/443/tls/http"),
        ("https://Boot.Example:8443/", "/dns/boot.example/tcp/8443/tls/http"),
        ("https://192.0.2.7", "/ip4/192.0.2.7/tcp/443/tls/http"),
        ("https://[2001:DB8::7]:8443", "/ip6/2001:db8::7/tcp/8443/tls/http"),
    ],
)
def test_the_multiaddr_spells_the_host_and_the_port(url: str, multiaddr: str) -> None:
    assert HttpProvider(parse_public_url(url)).multiaddr == multiaddr


def test_the_peer_id_is_of_the_origin_alone() -> None:
    ids = [
        HttpProvider(parse_public_url(url)).peer_id
        for url in (
            *("https://boot.example", "https://BOOT.example:443/"),
            *("https://boot.example:8443", "https://other.example"),
        )
    ]
    # Caches of other nodes hold it, so later versions must have the same.
    assert ids[0] == ids[1] == "QmQcBWqo59KxzwKCMhSLPUTYbHf8UQubGXVVSyRJaNon1T"
    assert len(set(ids)) == 3
    assert all(re.fullmatch(r"Qm[1-9A-HJ-NP-Za-km-z]{44}", each) for each in ids)


@pytest.mark.parametrize(
    "url",
    [
        "http://boot.example",
        "boot.example",
        "https://boot.example/os",
        "https://boot.example/?os",
        "https://boot.example/#os",
        "https://user@boot.example",
        "https://boot.example:0",
        "https://169.254.7.7",
        "https://[fe80::7%25eth0]",
        "https://224.0.0.1",
        "https://" + "a" * 600,
        "",
    ],
)
def test_a_public_url_that_no_node_can_use_is_refused(url: str) -> None:
    with pytest.raises(BadUrl):
        parse_public_url(url)
