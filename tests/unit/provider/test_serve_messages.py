"""What `phase-boot serve` prints: sentences on a terminal, JSON lines elsewhere."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from phase_boot.provider.events import (
    Announced,
    AnnounceFailed,
    NothingOffered,
    ReceiptKept,
    RequestAnswered,
    RequestsSuppressed,
    Started,
    Stopped,
    Withdrawn,
    as_sentence,
    to_person,
)

WORDS = ["serve", "--port", "0", "--host", "127.0.0.1", "--no-announce"]


def started(folder: Path, *words: str, terminal: bool) -> list[str]:
    """Return the first two lines that a provider of an empty folder prints."""
    if terminal:
        reader, writer = pty.openpty()
        termios.tcsetwinsize(writer, (25, 300))
    else:
        reader, writer = os.pipe()
    with subprocess.Popen(
        [sys.executable, "-m", "phase_boot.cli", *WORDS, str(folder), *words],
        stdout=writer,
        stderr=subprocess.PIPE,
    ) as process:
        os.close(writer)
        output = b""
        while output.count(b"\n") < 2 and (piece := os.read(reader, 4096)):
            output += piece
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)
    os.close(reader)
    return output.decode().splitlines()[:2]


def test_an_empty_site_is_reported_in_a_sentence_on_a_terminal(tmp_path: Path) -> None:
    serving, empty = started(tmp_path, terminal=True)
    assert f"Serving {tmp_path} at http://127.0.0.1:" in serving
    assert f"{tmp_path} holds nothing to boot yet: add a version with `phase-boot publish" in empty


@pytest.mark.parametrize(("words", "terminal"), [((), False), (("--json",), True)])
def test_without_a_terminal_or_by_option_events_are_json_lines(
    tmp_path: Path, words: tuple[str, ...], *, terminal: bool
) -> None:
    events = [json.loads(line)["event"] for line in started(tmp_path, *words, terminal=terminal)]
    assert events == ["serve.started", "serve.empty"]


def test_every_event_is_a_sentence_without_control_characters(
    capsys: pytest.CaptureFixture[str],
) -> None:
    bad = "\x1b[2J\n"
    for event in (
        Started(site=bad, urls=(bad,)),
        NothingOffered(site=bad, way_out=bad),
        RequestAnswered(peer=bad, method=bad, path=bad, status=1, bytes=1, seconds=1.0, error=bad),
        ReceiptKept(peer=bad, node=bad, job=bad, outcome=bad, file=bad),
        RequestsSuppressed(peer=bad, requests=1, receipts=1, bytes=1, errors=1, seconds=60.0),
        Announced(interface=bad, channel=bad, arch=bad, manifest_cid=bad, mirror=bad),
        Withdrawn(interface=bad, channel=bad, arch=bad),
        AnnounceFailed(interface=bad, reason=bad),
        Stopped(),
    ):
        assert as_sentence(event)
        to_person(event)
        out = capsys.readouterr().out
        assert out.count("\n") == 1
        assert "\x1b" not in out
