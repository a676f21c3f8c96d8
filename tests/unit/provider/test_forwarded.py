"""Whose word counts about the address of a client."""

from __future__ import annotations

from pathlib import Path

import pytest

from phase_boot.cli.main import main
from phase_boot.provider.http.forwarded import MAX_HOPS, NO_PROXIES, TrustedProxies
from tests.support.provider import ask, make_site, running

PROXIES = TrustedProxies.parse(["127.0.0.1", "10.0.0.0/8", "2001:db8::/32"])


async def seen(
    site: Path, field: str | None, proxies: TrustedProxies = PROXIES, **headers: str
) -> str:
    """Return the address in the log line of a request from 127.0.0.1."""
    fields = headers if field is None else {"X_Forwarded_For": field, **headers}
    async with running(site, proxies=proxies) as provider:
        assert (await ask(provider.port, "/health", **fields)).status == 200
        return (await provider.first_request()).peer


@pytest.fixture
def site(tmp_path: Path) -> Path:
    return make_site(tmp_path / "site")


@pytest.mark.parametrize(
    ("field", "client"),
    [
        ("198.51.100.7", "198.51.100.7"),
        ("2001:0DB9::1", "2001:db9::1"),
        ("203.0.113.9, 198.51.100.7", "198.51.100.7"),
        ("203.0.113.9, 198.51.100.7, 10.1.2.3,2001:db8::2", "198.51.100.7"),
        ("198.51.100.7, ::ffff:10.1.2.3", "198.51.100.7"),
        ("10.1.2.3", "10.1.2.3"),
        ("198.51.100.7, unknown, 10.1.2.3", "10.1.2.3"),
        ("198.51.100.7:80", "127.0.0.1"),
        ("<script>", "127.0.0.1"),
        ("", "127.0.0.1"),
        (None, "127.0.0.1"),
    ],
)
async def test_the_last_address_that_is_no_trusted_proxy_is_the_client(
    site: Path, field: str | None, client: str
) -> None:
    assert await seen(site, field) == client


async def test_a_client_that_is_no_trusted_proxy_chooses_no_address(site: Path) -> None:
    far = TrustedProxies.parse(["10.0.0.0/8"])
    for proxies in (NO_PROXIES, far):
        assert await seen(site, "198.51.100.7", proxies) == "127.0.0.1"


async def test_forwarded_of_a_client_that_a_proxy_passes_on_does_not_count(site: Path) -> None:
    assert await seen(site, None, Forwarded="for=198.51.100.7") == "127.0.0.1"


async def test_a_field_of_many_hops_is_read_from_its_end_alone(site: Path) -> None:
    hops = ["198.51.100.7", *["10.1.2.3"] * MAX_HOPS]
    assert await seen(site, ",".join(hops)) == "10.1.2.3"


@pytest.mark.parametrize("text", ["0.0.0.0/0", "::/0", "10.0.0.1/8", "proxy.example", ""])
def test_a_network_that_trusts_everyone_or_is_none_is_refused(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    site = make_site(tmp_path / "site")
    assert main(["serve", str(site), "--port", "0", "--trusted-proxy", text]) == 1
    output = capsys.readouterr()
    assert output.out == ""
    assert "--trusted-proxy is not usable" in output.err
