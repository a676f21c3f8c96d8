"""The one parser of URLs, for publisher and machine."""

from __future__ import annotations

from urllib.parse import urljoin, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phase_boot.drill.sample_manifest import document
from phase_boot.trust.fields import parse_mirror
from phase_boot.trust.manifest import Manifest
from phase_boot.trust.refusals import BadField
from phase_boot.url import (
    MAX_BASE,
    MAX_URL,
    BadUrl,
    Scope,
    Url,
    announced,
    base_url,
    bases,
    below,
    scope_of,
)
from policies.servers import gateways_from, urls_from

GOOD = {
    "http://10.0.0.1:8070": "http://10.0.0.1:8070",
    "https://mirror.example/os/": "https://mirror.example/os/",
    "http://[fd00::1]:8070/a%20b": "http://[fd00::1]:8070/a%20b",
    "https://bucket.example/os/manifest.json?X-Sig=abc%2F1&X-Exp=9": (
        "https://bucket.example/os/manifest.json?X-Sig=abc%2F1&X-Exp=9"
    ),
    "http://10.0.0.1:8070//os//": "http://10.0.0.1:8070//os//",
    "HTTPS://Mirror.Example.:443/A%2fb": "https://mirror.example/A%2fb",
    "http://[FE80::1%25eth0]/x": "http://[fe80::1%eth0]/x",
    "http://[fe80::1%eth0.7]:80": "http://[fe80::1%eth0.7]",
    "http://xn--mnchen-3ya.example/": "http://xn--mnchen-3ya.example/",
    "http://my_bucket.s3.example/": "http://my_bucket.s3.example/",
    "http://h?x": "http://h?x",
}
BAD = {
    "ftp://x": "does not start with http",
    "file:///etc/passwd": "does not start with http",
    "mirror.example/os": "does not start with http",
    "": "is empty",
    "http://": "names no host",
    "http:///x": "names no host",
    "http://.": "names no host",
    "http://a b": "a blank",
    " http://a": "a blank",
    "http://h/\u0000": "a control character",
    "http://h/\x7f": "a control character",
    "http://h\r\nX: y": "a control character",
    "http://m\u00fcnchen.example/": "beyond ASCII",
    "http://h\\@evil.example/": "a backslash",
    "https://:::/": "names no host",
    "http://h:0/": "its port is 0",
    "http://h:99999/": "its port is 99999",
    "http://h:65536/": "its port is 65536",
    "http://h:080/": "its port is 080",
    "http://h:/": "its port is missing",
    "http://h:8 0": "a blank",
    "http://h:+80/": r"its port is \+80",
    "http://fd00::1/": "an IPv6 address in",
    "http://h/#x": "a fragment",
    "http://h/#": "a fragment",
    "http://user:pw@h/": "a user name",
    "http://@h/": "a user name",
    "http://[::1/": "does not end with",
    "http://[::1]x/": "does not end with",
    "http://[10.0.0.1]/": "no IPv6 address",
    "http://[fd00::1%eth0]/": "has a zone",
    "http://[fe80::1%]/": "has a zone",
    "http://[fe80::1%a/b]/": "does not end with",
    "http://127.1/": "no IPv4 address",
    "http://0x7f.1/": "no IPv4 address",
    "http://2130706433/": "no IPv4 address",
    "http://010.0.0.1/": "no IPv4 address",
    "http://1.2.3.256/": "no IPv4 address",
    "http://xn--/": "is no name",
    "http://xn--abc-.example/": "is no name",
    "http://xn--99999999.example/": "no encoded name",
    "http://xn--\x7f/": "a control character",
    "http://-h/": "no name",
    "http://a..b/": "no name",
    "http://" + "a" * 64: "no name",
    "http://h/%": "two hexadecimal digits",
    "http://h/%2": "two hexadecimal digits",
    "http://h/?%zz": "two hexadecimal digits",
    'http://h/"': "holds the character",
    "http://h/<x>": "holds the character",
    "http://h/[x]": "holds the character",
    "http://h/" + "x" * MAX_URL: "characters and may have",
}


@pytest.mark.parametrize(("text", "canonical"), GOOD.items())
def test_a_valid_url_is_read_and_its_encoding_is_unchanged(text: str, canonical: str) -> None:
    assert str(Url.parse(text)) == canonical
    assert Url.parse(canonical) == Url.parse(text)


@pytest.mark.parametrize(("text", "reason"), BAD.items())
def test_an_invalid_url_is_refused_in_one_sentence(text: str, reason: str) -> None:
    with pytest.raises(BadUrl, match=reason) as caught:
        Url.parse(text)
    assert str(caught.value).isprintable()
    assert str(caught.value).isascii()
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("text", BAD)
def test_a_url_that_a_machine_refuses_is_refused_by_publish_and_policy(text: str) -> None:
    with pytest.raises(BadUrl):
        parse_mirror(text)
    with pytest.raises(BadField):
        Manifest.of(document(mirrors=[text]))
    with pytest.raises(ValueError, match="is no URL of a manifest"):
        urls_from([text])
    with pytest.raises(ValueError, match="is no base URL of a gateway"):
        gateways_from([text])


@pytest.mark.parametrize(
    ("text", "base"),
    [
        ("https://mirror.example", "https://mirror.example"),
        ("https://mirror.example/os//", "https://mirror.example/os"),
        ("http://10.0.0.1:8070//os//", "http://10.0.0.1:8070//os"),
        ("http://h/a%2Fb/", "http://h/a%2Fb"),
    ],
)
def test_a_base_url_ends_without_a_slash_and_files_are_below_it(text: str, base: str) -> None:
    assert base_url(text) == base
    assert below(text, "cas/sha256/00") == f"{base}/cas/sha256/00"
    assert below(base, "ipfs/x?format=raw") == f"{base}/ipfs/x?format=raw"


@pytest.mark.parametrize("text", ["https://h/os?", "https://h/os?sig=1", "https://h/" + "x" * 512])
def test_a_base_url_has_no_query_and_its_length_is_bounded(text: str) -> None:
    assert len(text) > MAX_BASE or "?" in text
    with pytest.raises(BadUrl):
        base_url(text)


def test_the_query_of_a_signed_url_is_kept_for_the_files_beside_it() -> None:
    url = Url.parse("https://h/os/stable/amd64/manifest.json?sig=a%2Fb")
    base = url.base("stable/amd64/manifest.json")
    assert str(base) == "https://h/os?sig=a%2Fb"
    assert below(str(base), "cas/sha256/00") == "https://h/os/cas/sha256/00?sig=a%2Fb"
    assert below(str(base), "ipfs/x?format=raw") == "https://h/os/ipfs/x?format=raw&sig=a%2Fb"
    assert bases(str(base)) == ("https://h/os?sig=a%2Fb", "https://h/os")
    assert bases("https://h/os") == ("https://h/os",)
    assert url.base("nightly/amd64/manifest.json") is None


@pytest.mark.parametrize(
    ("host", "scope"),
    [
        ("localhost", Scope.OWN),
        ("a.localhost", Scope.OWN),
        ("127.0.0.1", Scope.OWN),
        ("127.9.9.9", Scope.OWN),
        ("0.0.0.0", Scope.OWN),  # noqa: S104 - an address that is judged
        ("::1", Scope.OWN),
        ("::", Scope.OWN),
        ("::ffff:127.0.0.1", Scope.OWN),
        ("::ffff:7f00:1", Scope.OWN),
        ("64:ff9b::7f00:1", Scope.OWN),
        ("2002:7f00:1::", Scope.OWN),
        ("::127.0.0.1", Scope.OWN),
        ("::169.254.169.254", Scope.LINK),
        ("::7", Scope.PRIVATE),
        ("169.254.169.254", Scope.LINK),
        ("::ffff:169.254.169.254", Scope.LINK),
        ("fe80::1", Scope.LINK),
        ("fe80::1%eth0", Scope.LINK),
        ("10.0.0.1", Scope.PRIVATE),
        ("192.168.1.1", Scope.PRIVATE),
        ("100.64.0.1", Scope.PRIVATE),
        ("fd00::1", Scope.PRIVATE),
        ("8.8.8.8", Scope.PUBLIC),
        ("2600::1", Scope.PUBLIC),
        ("::ffff:8.8.8.8", Scope.PUBLIC),
        ("224.0.0.251", Scope.RESERVED),
        ("255.255.255.255", Scope.RESERVED),
        ("ff02::fb", Scope.RESERVED),
        ("mirror.example", Scope.NAME),
    ],
)
def test_the_scope_of_an_address_is_classified(host: str, scope: Scope) -> None:
    assert scope_of(host) is scope


@pytest.mark.parametrize(
    "text",
    [
        "http://169.254.169.254/",
        "http://127.0.0.1/",
        "http://localhost:8070/",
        "http://[::1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://[fe80::1%eth0]/",
        "http://0.0.0.0/",
        "http://224.0.0.1/",
        "ftp://10.0.0.1/",
    ],
)
def test_a_url_from_the_lan_may_not_name_this_machine_or_a_link_local_address(text: str) -> None:
    with pytest.raises(BadUrl):
        announced(text)


def test_a_url_from_the_lan_may_name_another_machine_and_a_typed_one_this_machine() -> None:
    assert str(announced("http://10.0.0.1:8070/x")) == "http://10.0.0.1:8070/x"
    assert str(announced("http://peer.local:8070/x")) == "http://peer.local:8070/x"
    assert Url.parse("http://127.0.0.1:8070/").scope is Scope.OWN
    assert urls_from(["http://127.0.0.1/"]) == ("http://127.0.0.1/",)


@pytest.mark.parametrize(
    ("reference", "target"),
    [
        ("https://cdn.example/x?sig=1%2F2", "https://cdn.example/x?sig=1%2F2"),
        ("//cdn.example/x", "https://cdn.example/x"),
        ("/y", "https://h/y"),
        ("y", "https://h/a/y"),
        ("../y", "https://h/y"),
        ("../../../y", "https://h/y"),
        ("./", "https://h/a/"),
        ("?z=1", "https://h/a/b?z=1"),
        ("", "https://h/a/b?q=1"),
        ("/y#part", "https://h/y"),
        (" /y ", "https://h/y"),
        ("/with blank", "https://h/with%20blank"),
        ("/m\u00fc", "https://h/m%C3%BC"),
        ("/\udcff", "https://h/%FF"),
        ("/a%zz", "https://h/a%25zz"),
        ("/[x]|", "https://h/%5Bx%5D%7C"),
        ("http://[fd00::1]:80/[x]", "http://[fd00::1]/%5Bx%5D"),
    ],
)
def test_a_redirect_is_resolved_relative_to_its_request(reference: str, target: str) -> None:
    assert str(Url.parse("https://h/a/b?q=1").join(reference)) == target


@pytest.mark.parametrize(
    "reference",
    ["ftp://x/", "javascript:alert(1)", "http://u@h/", "http://h:0/", "//", "/\x1b[2J", "data:,x"],
)
def test_a_redirect_to_an_invalid_url_is_refused(reference: str) -> None:
    with pytest.raises(BadUrl):
        Url.parse("https://h/a").join(reference)


@given(st.text() | st.text(alphabet="htps:/[]@%?#.:0123456789abcxn-", max_size=60))
def test_any_text_is_a_url_or_refused(text: str) -> None:
    for each in (text, f"http://{text}", f"http://h/{text}"):
        try:
            url = Url.parse(each)
        except BadUrl:
            continue
        assert Url.parse(str(url)) == url
        assert str(url).isascii()
        split = urlsplit(str(url))
        assert (split.hostname or "").partition("%")[0] == url.host.partition("%")[0]
        assert (split.port or url.port) == url.port
        assert split.username is None


@given(st.lists(st.sampled_from(["..", ".", "a", "b"]), min_size=1, max_size=9), st.booleans())
def test_a_relative_redirect_is_resolved_as_the_standard_library_does(
    parts: list[str],
    absolute: bool,  # noqa: FBT001 - a case
) -> None:
    reference = "/" * absolute + "/".join(parts)
    base = "http://h/a/b/c?q"
    assert str(Url.parse(base).join(reference)) == urljoin(base, reference)
