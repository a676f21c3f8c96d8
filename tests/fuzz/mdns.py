"""Announcements on the LAN: TXT records as zeroconf reads them, and the URLs made of them."""

from __future__ import annotations

from urllib.parse import urlsplit

from zeroconf import ServiceInfo

from phase_boot.adapters.finders.mdns import MAX_ADDRESSES, MAX_URL, manifest_urls
from phase_boot.content.arch import Arch
from phase_boot.ports.finder import SERVICE, DiscoveryQuery
from phase_boot.url import Scope, Url
from tests.fuzz.target import Target

_QUEST = DiscoveryQuery(arch=Arch.AMD64, channel="stable", seconds=1, urls=())
_HOST = "neighbour.local"
_ANNOUNCED = (
    ("192.0.2.7", "2001:db8::7", "fe80::7"),
    ("fe80::7",),
    (),
)


def one(data: bytes) -> None:
    """Read it as a TXT record, and as the mirror of one that is for us."""
    _read(data)
    _read(_txt(arch=b"amd64", channel=b"stable", mirror=data[:MAX_URL]))


def _read(txt: bytes) -> None:
    for addresses in _ANNOUNCED:
        info = ServiceInfo(
            SERVICE,
            f"x.{SERVICE}",
            server=f"{_HOST}.",
            parsed_addresses=list(addresses),
            properties=txt,
        )
        urls = list(
            manifest_urls(
                info.decoded_properties,
                server=info.server,
                addresses=info.parsed_scoped_addresses(),
                query=_QUEST,
            )
        )
        assert len(urls) <= MAX_ADDRESSES
        # Of keys that differ in case alone the first counts (RFC 6763, section 6.4).
        mirrors = [
            value for key, value in info.decoded_properties.items() if key.lower() == "mirror"
        ]
        for url in urls:
            _check(url, mirrors[0], addresses)


def _check(url: str, mirror: str | None, addresses: tuple[str, ...]) -> None:
    assert url.isascii()
    assert url.isprintable()
    parts = urlsplit(url)
    assert parts.scheme in {"http", "https"}
    assert parts.port is None or 0 <= parts.port < 2**16
    # A name that only this wire knows was replaced by what its owner announced, nothing else was.
    assert parts.hostname in addresses or Url.parse(mirror or "") == Url.parse(url)
    assert Url.parse(url).scope not in {Scope.OWN, Scope.RESERVED}
    assert not (parts.hostname or "").endswith(".local")


def _txt(**pairs: bytes) -> bytes:
    strings = [key.encode() + b"=" + value for key, value in pairs.items()]
    return b"".join(bytes((min(len(string), 255),)) + string[:255] for string in strings)


def _offer(mirror: str) -> bytes:
    return _txt(arch=b"amd64", channel=b"stable", mirror=mirror.encode())


TARGET = Target(
    one=one,
    starts={
        "by-name": _offer(f"http://{_HOST}:8080/stable/amd64/manifest.json"),
        "by-address": _offer("http://192.0.2.7:8080/stable/amd64/manifest.json"),
        "by-address-6": _offer("http://[2001:db8::7]/stable/amd64/manifest.json"),
        "elsewhere": _offer("https://mirror.example/stable/amd64/manifest.json?a#b"),
        "other-name": _offer("http://other.local/manifest.json"),
        "user": _offer(f"http://user:word@{_HOST.upper()}/manifest.json"),
        "other-channel": _txt(arch=b"amd64", channel=b"nightly", mirror=b"http://a/"),
        "no-value": b"\x04arch\x07channel\x06mirror",
        "empty": b"",
        "mirror": b"http://neighbour.local:8080/stable/amd64/manifest.json",
        "torn": b"\xffarch=amd64",
    },
    max_len=1024,
    words=(
        b"\x0aarch=amd64",
        b"\x0echannel=stable",
        b"mirror=http://",
        b"neighbour.local",
        b"[::1]",
        b"%25",
        b":65536",
    ),
)
