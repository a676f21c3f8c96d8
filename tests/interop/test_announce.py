"""The record of a SITE on real web servers and by curl, and the units of docs/announcing.md."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from functools import cache
from pathlib import Path

import pytest

from image.lab.nginx import RECORD_LOCATION
from phase_boot.announce.site_record import announce_site
from phase_boot.store.layout import RECORD_TYPE, record_paths
from tests.results import ROOT
from tests.support.announced_site import make_announced_site, stored, terms
from tests.support.ipns_records import ANNOUNCING_KEY, NAME
from tests.support.required_programs import needed
from tests.support.web_servers import CADDY_RECORDS, LIGHTTPD_RECORDS, serving

pytestmark = pytest.mark.interop

PHASE_BOOT = str(Path(sys.executable).parent / "phase-boot")
ROUTING, GATEWAY = record_paths(NAME)
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SERVERS = ("nginx", "caddy", "lighttpd")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = make_announced_site(tmp_path_factory.mktemp("announced"))
    announce_site(root, ANNOUNCING_KEY, terms())
    return root


@pytest.fixture(scope="module")
def servers(site: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], str]]:
    """Start each server once, when it is first asked for."""
    files = {path: stored(site).raw for path in record_paths(NAME)}
    with ExitStack() as running:
        yield cache(
            lambda name: running.enter_context(serving(name, tmp_path_factory.mktemp(name), files))
        )


@pytest.fixture
def provider(site: Path) -> Iterator[str]:
    """Run `phase-boot serve` on the SITE."""
    words = ["serve", str(site), "--host", "127.0.0.1", "--port", "0", "--no-announce", "--json"]
    with subprocess.Popen([PHASE_BOOT, *words], stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        started = json.loads(running.stdout.readline())
        try:
            yield started["urls"][0]
        finally:
            running.terminate()


def curl(url: str, *words: str) -> tuple[int, str, dict[str, str], bytes]:
    """Return the status, the type, the headers and the body that curl gets."""
    form = "%{stderr}%{http_code} %{header_json}"
    done = subprocess.run(
        [needed("curl", "curl"), "--silent", "--max-time", "20", "--write-out", form, *words, url],
        capture_output=True,
        check=True,
    )
    status, _, rest = done.stderr.decode().partition(" ")
    headers = {name: values[0] for name, values in json.loads(rest).items()}
    return int(status), headers.get("content-type", ""), headers, done.stdout


def announce(site: Path, *words: str) -> tuple[int, list[Mapping[str, object]]]:
    done = subprocess.run(
        [PHASE_BOOT, "announce", str(site), *words, "--json"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert "Traceback" not in done.stderr
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("path", [ROUTING, f"{GATEWAY}?format=ipns-record"])
@pytest.mark.parametrize("name", SERVERS)
def test_a_plain_web_server_sends_the_record_as_a_router_and_as_a_gateway(
    servers: Callable[[str], str], site: Path, name: str, path: str
) -> None:
    status, kind, headers, body = curl(f"{servers(name)}/{path}")
    assert (status, kind, body) == (200, RECORD_TYPE, stored(site).raw)
    assert headers["cache-control"] == "public, max-age=300"
    assert curl(f"{servers(name)}/{path}", "--head")[:2] == (200, RECORD_TYPE)


@pytest.mark.parametrize("name", SERVERS)
def test_a_name_without_a_record_is_404_on_a_plain_web_server(
    servers: Callable[[str], str], name: str
) -> None:
    other = str(NAME)[:-1] + ("a" if str(NAME)[-1] != "a" else "b")
    assert curl(f"{servers(name)}/routing/v1/ipns/{other}")[0] == 404


@pytest.mark.parametrize("name", SERVERS)
def test_the_check_passes_for_a_mirror_and_as_router_and_gateway(
    servers: Callable[[str], str], site: Path, name: str
) -> None:
    url = servers(name)
    status, lines = announce(site, "--check", "--mirror", url, "--router", url, "--gateway", url)
    assert [line["state"] for line in lines] == ["ours"] * 4
    assert status == 0


def test_the_check_names_a_server_without_the_type(
    servers: Callable[[str], str], site: Path
) -> None:
    status, lines = announce(site, "--check", "--mirror", servers("http.server"))
    assert (status, lines[-1]["state"]) == (1, "untyped")


def test_phase_boot_serve_is_a_router_and_a_gateway_for_curl(provider: str, site: Path) -> None:
    record = stored(site)
    for path, words in (
        (ROUTING, ()),
        (f"{GATEWAY}?format=ipns-record", ()),
        (GATEWAY, ("--header", f"Accept: {RECORD_TYPE}")),
    ):
        status, kind, headers, body = curl(f"{provider}{path}", *words)
        assert (status, kind, body) == (200, RECORD_TYPE, record.raw)
        assert headers["cache-control"] == "public, max-age=300"
        assert curl(f"{provider}{path}", "--head", *words)[:2] == (200, RECORD_TYPE)
    assert curl(f"{provider}{GATEWAY}")[0] == 406


def test_a_new_record_reaches_the_clients_of_phase_boot_serve_at_once(
    provider: str, site: Path
) -> None:
    before = stored(site)
    words = ("--key", str(site.parent / "announcer.key"), "--router", provider.rstrip("/"))
    status, lines = announce(site, *words)
    assert [(line["kind"], line["state"]) for line in lines] == [
        ("site", "ours"),
        ("router", "ours"),
    ]
    assert status == 0
    assert str(lines[-1]["answered"]).startswith("it answered HTTP 405")
    assert stored(site).newer_than(before)
    assert curl(f"{provider}{ROUTING}")[3] == stored(site).raw


def test_the_page_of_mirrors_shows_the_configurations_that_are_tested() -> None:
    blocks = dict(BLOCK.findall((ROOT / "docs/mirrors.md").read_text()))
    assert blocks == {
        "nginx": RECORD_LOCATION,
        "caddy": CADDY_RECORDS,
        "lighttpd": LIGHTTPD_RECORDS,
    }


def test_systemd_accepts_the_units_of_the_page(tmp_path: Path) -> None:
    service, timer = (
        text
        for kind, text in BLOCK.findall((ROOT / "docs/announcing.md").read_text())
        if kind == "ini"
    )
    (tmp_path / "phase-boot-announce.service").write_text(
        service.replace("/usr/local/bin/phase-boot", PHASE_BOOT)
    )
    (tmp_path / "phase-boot-announce.timer").write_text(timer)
    done = subprocess.run(
        [needed("systemd-analyze", "systemd"), "verify", *map(str, tmp_path.iterdir())],
        capture_output=True,
        text=True,
        check=False,
    )
    complaints = [line for line in done.stderr.splitlines() if str(tmp_path) in line]
    assert (done.returncode, complaints) == (0, [])
