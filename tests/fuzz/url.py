"""URLs from policies, manifests, announcements and redirects."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlsplit

from phase_boot.url import BadUrl, Scope, Url, announced, base_url, below
from tests.fuzz.target import Target

_HERE = Url.parse("https://mirror.example/os/stable/amd64/manifest.json?sig=1")


def one(data: bytes) -> None:
    """Read it as a URL, as a base URL, as an announcement and as a redirect."""
    text = data.decode("utf-8", "surrogateescape")
    for read in (_url, _base, _announced, _redirect):
        assert _why_not(read, text).isprintable()


def _why_not(read: Callable[[str], None], text: str) -> str:
    """Return the reason why a text is refused; nothing if it is not."""
    try:
        read(text)
    except BadUrl as refused:
        return str(refused)
    return ""


def _url(text: str) -> None:
    _check(Url.parse(text))


def _base(text: str) -> None:
    base = base_url(text)
    assert base_url(base) == base
    _check(Url.parse(below(base, "cas/sha256/00")))


def _announced(text: str) -> None:
    assert announced(text).scope not in {Scope.OWN, Scope.LINK, Scope.RESERVED}


def _redirect(text: str) -> None:
    _check(_HERE.join(text))


def _check(url: Url) -> None:
    text = str(url)
    assert text.isascii()
    assert text.isprintable()
    assert Url.parse(text, max_length=len(text)) == url
    # What asks for it reads it in the same way.
    split = urlsplit(text)
    assert split.scheme == url.scheme
    assert (split.hostname or "").partition("%")[0] == url.host.partition("%")[0]
    assert (split.port or url.port) == url.port
    assert split.username is None
    assert not split.fragment


TARGET = Target(
    one=one,
    starts={
        "mirror": b"https://mirror.example/os/",
        "port": b"http://10.0.0.1:8070//os//",
        "address": b"http://[fd00::1]:8070/a%20b",
        "zone": b"http://[fe80::1%25eth0]/",
        "signed": b"https://bucket.example/os/manifest.json?X-Sig=abc%2F1&X-Exp=9",
        "relative": b"../x y?z#f",
        "other-host": b"//cdn.example/x",
        "encoded-name": b"http://xn--mnchen-3ya.example/",
        "number": b"http://0x7f.1/",
        "user": b"http://user:word@h/",
        "not-utf-8": b"/\xff",
    },
    max_len=512,
    words=(b"http://", b"https://", b"xn--", b"[::1]", b"%25", b":65536", b"@", b"\\", b"/../"),
)
