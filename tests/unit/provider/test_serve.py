from __future__ import annotations

import io
import json
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from phase_boot.cli.main import main
from phase_boot.content.cid import Cid, Codec
from phase_boot.drill.sample_manifest import KERNEL
from phase_boot.provider import events
from phase_boot.provider.errors import ProvideError
from phase_boot.provider.events import Started, Stopped, as_line
from phase_boot.provider.interfaces import (
    find_interfaces,
    host_label,
    local_addresses,
    unique_label,
)
from phase_boot.provider.listen import listen
from phase_boot.store.layout import record_paths
from tests.support.announced_site import make_announced_site
from tests.support.ipns_records import NAME, record
from tests.support.provider import MANIFEST, make_site
from tests.support.record_servers import record_server


@pytest.fixture
def site(tmp_path: Path) -> Path:
    return make_site(tmp_path / "site")


@contextmanager
def serving(site: Path, *words: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run `phase-boot serve` on the loopback and yield it with its base URL."""
    command = [sys.executable, "-m", "phase_boot.cli", "serve", str(site), "--port", "0", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as it:
        assert it.stdout is not None
        started = json.loads(it.stdout.readline())
        assert started["event"] == "serve.started"
        try:
            yield it, started["urls"][0]
        finally:
            it.kill()


def test_the_command_serves_emits_events_and_stops_on_sigterm(site: Path) -> None:
    with serving(site, "--host", "127.0.0.1", "--no-announce") as (process, url):
        with urllib.request.urlopen(url + MANIFEST[1:]) as answer:  # noqa: S310 - our own provider
            assert answer.read() == (site / MANIFEST[1:]).read_bytes()
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (0, "")
    events = [json.loads(line) for line in out.splitlines()]
    assert [line["event"] for line in events] == ["request", "serve.stopped"]
    assert events[0]["path"] == MANIFEST
    assert events[0]["status"] == 200
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+\+00:00", line["time"]) for line in events)


def test_a_client_that_asks_in_a_loop_fills_no_log(site: Path) -> None:
    with serving(site, "--host", "127.0.0.1", "--no-announce") as (process, url):
        for _ in range(50):
            with urllib.request.urlopen(url + "health") as answer:  # noqa: S310 - our own provider
                answer.read()
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=20)
    events = [json.loads(line) for line in out.splitlines()]
    assert [line["event"] for line in events] == ["request", "requests.suppressed", "serve.stopped"]
    assert (events[1]["peer"], events[1]["requests"]) == ("127.0.0.1", 49)


def test_the_public_url_switches_the_delegated_router_on(site: Path) -> None:
    cid = Cid.of(Codec.RAW, (site / MANIFEST[1:]).read_bytes())
    words = ("--host", "127.0.0.1", "--no-announce", "--public-url", "https://boot.example:8443/")
    with serving(site, *words) as (_, url):
        path = f"{url}routing/v1/providers/{cid}"
        with urllib.request.urlopen(path) as answer:  # noqa: S310 - our own provider
            (found,) = json.loads(answer.read())["Providers"]
    assert found["Addrs"] == ["/dns/boot.example/tcp/8443/tls/http"]


@pytest.mark.parametrize("url", ["http://boot.example", "https://boot.example/os", "boot.example"])
def test_an_unusable_public_url_is_reported_in_one_sentence(
    site: Path, url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["serve", str(site), "--port", "0", "--public-url", url])
    assert ended.value.code == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert f"argument --public-url: '{url}' is not usable: it " in last


def test_serving_does_not_wait_for_the_announcement(site: Path) -> None:
    with serving(site, "--host", "127.0.0.1") as (process, url):
        with urllib.request.urlopen(url + "health") as answer:  # noqa: S310 - our own provider
            assert json.loads(answer.read())["status"] == "ok"
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)
    assert process.returncode == 0


def test_a_closed_event_output_does_not_stop_the_provider(site: Path) -> None:
    with serving(site, "--host", "127.0.0.1", "--no-announce") as (process, url):
        assert process.stdout is not None
        process.stdout.close()
        for _ in range(3):
            with urllib.request.urlopen(url + "health") as answer:  # noqa: S310 - our own provider
                assert answer.status == 200
        assert process.poll() is None
        process.terminate()
        assert process.wait(timeout=20) == 0
        assert process.stderr is not None
        assert process.stderr.read() == ""


def test_ipv4_and_ipv6_have_one_port(site: Path) -> None:
    sockets = listen(port=0, host=None, interface=None)
    try:
        assert len({one.getsockname()[1] for one in sockets}) == 1
        assert socket.AF_INET in {one.family for one in sockets}
    finally:
        for one in sockets:
            one.close()
    assert site.exists()


def test_a_port_in_use_is_reported_in_one_sentence(
    site: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ProvideError, match="--port"):
            listen(port=port, host="127.0.0.1", interface=None)
        assert main(["serve", str(site), "--port", str(port), "--host", "127.0.0.1"]) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert f"Port {port} cannot be opened on 127.0.0.1" in err


@pytest.mark.parametrize("words", [["--host", "192.0.2.1"], ["--interface", "no-such0"]])
def test_an_unusable_host_or_interface_is_reported_in_one_sentence(
    site: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["serve", str(site), "--port", "0", *words]) == 1
    err = capsys.readouterr().err
    assert (err.count("\n"), words[1] in err) == (1, True)


def test_a_missing_site_is_reported_in_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["serve", str(tmp_path / "missing"), "--port", "0"]) == 1
    assert "is not a folder" in capsys.readouterr().err


@pytest.mark.parametrize("port", ["-1", "65536", "http"])
def test_an_invalid_port_is_a_usage_error(port: str) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["serve", ".", "--port", port])
    assert stopped.value.code == 2


def test_an_event_is_one_line_of_json(capsys: pytest.CaptureFixture[str]) -> None:
    events.to_stdout(Started(site="s\n\x1b", urls=("http://[::1]:1/",)))
    line = capsys.readouterr().out
    assert line.count("\n") == 1
    assert json.loads(line)["site"] == "s\n\x1b"
    assert json.loads(as_line(Stopped()))["event"] == "serve.stopped"


def test_events_to_a_closed_output_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(io.StringIO):
        def write(self, _: str) -> int:
            raise BrokenPipeError

    monkeypatch.setattr("sys.stdout", Broken())
    events.to_stdout(Stopped())
    assert isinstance(sys.stdout, Broken)


def test_the_host_name_is_a_dns_label() -> None:
    assert re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", host_label())


def test_a_unique_label_starts_with_the_name() -> None:
    assert unique_label("debian").startswith("debian-")
    assert len(unique_label("x" * 63)) == 63
    assert "127.0.0.1" in local_addresses()


def test_the_loopback_is_announced_on_only_if_it_is_named() -> None:
    assert "lo" not in find_interfaces()
    assert find_interfaces(interface="lo")["lo"].addresses[0] == "127.0.0.1"
    assert find_interfaces(interface="no-such0") == {}
    assert find_interfaces(host="127.0.0.1")["lo"].addresses == ("127.0.0.1",)
    assert find_interfaces(host="localhost") == {}


def test_an_artifact_is_served_from_a_mirror_that_is_replaced_under_the_provider(
    site: Path, tmp_path: Path
) -> None:
    with serving(site, "--host", "127.0.0.1", "--no-announce") as (_, url):
        site.rename(tmp_path / "old")
        make_site(tmp_path / "new").rename(site)
        entry = next(p for p in (site / "cas/sha256").iterdir() if p.read_bytes() == KERNEL)
        with urllib.request.urlopen(f"{url}cas/sha256/{entry.name}") as answer:  # noqa: S310
            assert answer.read() == KERNEL


def test_the_command_asks_its_routers_for_newer_records_and_refuses_what_is_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, soon = make_announced_site(tmp_path), datetime.now(UTC) + timedelta(hours=1)
    path = root / record_paths(NAME)[0]
    path.parent.mkdir(parents=True)
    path.write_bytes(record(sequence=5, validity=soon))
    newer = record(sequence=6, validity=soon)
    words = ("--host", "127.0.0.1", "--no-announce", "--router")
    with record_server() as router:
        router.records[str(NAME)] = newer
        with serving(root, *words, router.url) as (process, url):
            for _ in range(3):
                with urllib.request.urlopen(url + record_paths(NAME)[0]) as answer:  # noqa: S310 - our own provider
                    assert answer.read() == newer
            process.send_signal(signal.SIGTERM)
            _, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (0, "")
    assert len(router.asked) == 1
    assert main(["serve", str(root), "--router", "router.example"]) == 1
    assert "--router is not usable" in capsys.readouterr().err
