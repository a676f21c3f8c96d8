"""`phase-boot fetch` fills a store from real servers, also after a kill."""

from __future__ import annotations

import asyncio
import subprocess
import time
from pathlib import Path

import pytest

from phase_boot.cli.main import main
from tests.support.real_mirror import ENTRY, FetchEnvironment, Ranges, mirror


@pytest.fixture
def environment(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> FetchEnvironment:
    return FetchEnvironment(tmp_path, capsys)


def test_a_store_is_filled_and_a_second_time_nothing_is_fetched(
    environment: FetchEnvironment,
) -> None:
    environment.publish()
    with mirror(environment.site) as one:
        done = environment.fetch(one.url)
        assert done.returncode == 0, done.stderr
        environment.assert_filled()
        assert not environment.events("chunk_list.unavailable")
        sent = one.sent
        assert environment.fetch(f"{one.url}/stable/amd64/manifest.json").returncode == 0
        assert {event["source"] for event in environment.events("fetch.done")} == {"store"}
        assert one.sent < sent + 100_000


def test_of_three_mirrors_one_sends_wrong_bytes_and_the_store_is_filled(
    environment: FetchEnvironment,
) -> None:
    with (
        mirror(environment.site) as one,
        mirror(environment.site) as two,
        mirror(environment.site) as liar,
    ):
        environment.publish(two.url, liar.url)
        for each in (one, two):
            each.seconds = 0.02
        liar.tamper = lambda data: data[:9999] + b"lie" * 1000 + data[12999:]  # type: ignore[method-assign] # what it does
        done = environment.fetch(one.url)
        assert done.returncode == 0, done.stderr
        assert two.sent > 0
    environment.assert_filled()
    assert {event["source"] for event in environment.events("source.failed")} <= {liar.url}


def test_a_busy_mirror_is_retried_and_the_store_is_filled(
    environment: FetchEnvironment,
) -> None:
    environment.publish()
    with mirror(environment.site) as one:
        # The HTTP library asks once more by itself where a connection is lost.
        one.first = [Ranges.reset, Ranges.reset, Ranges.busy, Ranges.busy]
        done = environment.fetch(one.url)
    assert done.returncode == 0, done.stderr
    environment.assert_filled()
    waits = environment.events("candidate.deferred")
    assert [event["failures"] for event in waits] == [1, 2, 3]
    assert all(event["seconds"] >= 1 for event in waits[1:])
    assert len(set(one.asked[:5])) == 1
    assert done.stderr.count("asked again in") == 3


def test_a_killed_run_is_continued_by_the_next(environment: FetchEnvironment) -> None:
    environment.publish()
    with mirror(environment.site) as one:
        one.seconds = 0.05
        with subprocess.Popen(environment.words(one.url), stderr=subprocess.DEVNULL) as running:
            while one.sent < 3_000_000:
                assert running.poll() is None
                time.sleep(0.01)
            running.kill()
        assert not (environment.store / ENTRY).exists()
        one.seconds, one.sent = 0.0, 0
        done = environment.fetch(one.url)
        assert done.returncode == 0, done.stderr
        assert one.sent < 4_500_000
        (started,) = [e for e in environment.events("fetch.started") if e["artifact"] == "rootfs"]
        assert started["offset"] > 1_500_000
    environment.assert_filled()


def test_two_at_once_fill_one_store(environment: FetchEnvironment) -> None:
    environment.publish()

    async def both(url: str) -> list[int]:
        words = environment.words(url)
        quiet = asyncio.subprocess.DEVNULL
        runs = [await asyncio.create_subprocess_exec(*words, stderr=quiet) for _ in range(2)]
        return [await run.wait() for run in runs]

    with mirror(environment.site) as one:
        one.seconds = 0.01
        assert asyncio.run(both(one.url)) == [0, 0]
    environment.assert_filled()


def test_a_manifest_of_an_untrusted_publisher_is_not_fetched(
    environment: FetchEnvironment, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "other").mkdir()
    stranger = FetchEnvironment(tmp_path / "other", capsys)
    stranger.publish()
    with mirror(stranger.site) as one:
        assert environment.fetch(one.url).returncode == 1
        assert one.sent < 100_000
    assert not (environment.store / "cas/sha256").exists()


def test_a_policy_without_a_cache_is_reported(
    environment: FetchEnvironment, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["policy", "--mode", "private", "--key", "ed25519:" + "0" * 64]) == 0
    environment.policy.write_text(capsys.readouterr().out)
    done = environment.fetch("http://127.0.0.1:1")
    assert done.returncode == 2
    assert "stores nothing" in done.stderr


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["http://h:0/os"], "'http://h:0/os' is not a usable URL: its port is 0"),
        (
            ["http://127.0.0.1:1", "--source", "ftp://h/"],
            "'ftp://h/' is not a usable URL: it does not",
        ),
        (["http://127.0.0.1:1", "--gateway", "http://h/?x"], "it has a query"),
    ],
)
def test_an_invalid_url_is_refused_before_any_request(
    environment: FetchEnvironment, words: list[str], reason: str
) -> None:
    url, *more = words
    done = subprocess.run(
        [*environment.words(url), *more], text=True, capture_output=True, check=False, timeout=120
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert reason in done.stderr
    assert "Traceback" not in done.stderr
    assert not (environment.store / "cas/sha256").exists()


def test_a_presigned_url_of_a_manifest_fills_a_store(environment: FetchEnvironment) -> None:
    environment.publish()
    with mirror(environment.site) as one:
        done = environment.fetch(f"{one.url}/stable/amd64/manifest.json?X-Sig=a%2Fb")
        assert done.returncode == 0, done.stderr
    environment.assert_filled()
    assert {event["source"] for event in environment.events("fetch.done")} <= {
        one.url,
        f"{one.url}?X-Sig=a%2Fb",
    }
