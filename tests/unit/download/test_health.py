"""How long a source that failed is suspect."""

from __future__ import annotations

from phase_boot.download.health import MAX_SOURCES, SUSPICION, SourceHealth


def test_a_source_is_suspect_for_longer_after_each_failure() -> None:
    health, now = SourceHealth(), 0.0
    spans = []
    for _ in range(8):
        health.failed("a", now)
        began = now
        while health.is_suspect("a", now):
            now += 0.5
        spans.append(now - began)
    assert spans[0] == SUSPICION.first
    assert spans == sorted(spans)
    assert spans[-1] == SUSPICION.longest


def test_one_failure_that_is_noted_twice_counts_once() -> None:
    health = SourceHealth()
    health.failed("a", 0.0)
    health.failed("a", 0.1)
    assert not health.is_suspect("a", SUSPICION.first)


def test_a_source_that_delivers_is_suspect_no_more() -> None:
    health = SourceHealth()
    health.failed("a", 0.0)
    health.delivered("a")
    assert not health.is_suspect("a", 0.1)


def test_the_number_of_recorded_sources_is_bounded() -> None:
    health = SourceHealth()
    for number in range(3 * MAX_SOURCES):
        health.failed(f"http://{number}", 0.0)
    last = f"http://{3 * MAX_SOURCES - 1}"
    assert health.is_suspect(last, 0.1)
    assert not health.is_suspect("http://0", 0.1)
