"""The output of real commands on terminals of every kind, on a pipe and in a file."""

from __future__ import annotations

import os
import re
import subprocess
import termios
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from tests.support.real_mirror import PHASE_BOOT, FetchEnvironment, mirror
from tests.support.terminal_user import TerminalUser

COLOUR = re.compile(r"\x1b\[[0-9;]*m")
BAR = re.compile(r"\r  rootfs ")
KINDS = {
    "dumb": {"TERM": "dumb"},
    "unset": {},
    "without colour": {"TERM": "xterm-256color", "NO_COLOR": "1"},
    "usual": {"TERM": "xterm-256color", "NO_COLOR": ""},
}


def variables(kind: Mapping[str, str]) -> dict[str, str]:
    kept = {name: text for name, text in os.environ.items() if name not in {"TERM", "NO_COLOR"}}
    return {**kept, **kind}


def on_terminal(words: Sequence[str], kind: Mapping[str, str], columns: int = 40) -> str:
    """Run a command that ends by itself and return all that a terminal was sent."""
    outer, inner = os.openpty()
    termios.tcsetwinsize(inner, (25, columns))
    with subprocess.Popen(
        words, stdin=inner, stdout=inner, stderr=inner, env=variables(kind)
    ) as process:
        os.close(inner)
        sent = b""
        try:
            while piece := os.read(outer, 4096):
                sent += piece
        except OSError:
            # So Linux says that the program has closed its side.
            pass
        process.wait(timeout=60)
    os.close(outer)
    return sent.decode()


def widest(sent: str) -> int:
    """Return the columns of the longest stretch between two moves to a line's beginning."""
    return max(map(len, re.split(r"[\r\n]+", sent.replace("\x1b[K", ""))))


@pytest.fixture
def environment(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> FetchEnvironment:
    return FetchEnvironment(tmp_path, capsys)


@pytest.mark.parametrize("name", KINDS)
def test_a_fetch_is_drawn_as_its_terminal_allows(environment: FetchEnvironment, name: str) -> None:
    environment.publish()
    with mirror(environment.site) as one:
        one.seconds = 0.02
        sent = on_terminal(environment.words(one.url), KINDS[name])
    environment.assert_filled()
    assert "MiB verified" in " ".join(sent.split())
    assert widest(sent) < 40
    assert not COLOUR.search(sent)
    if name in {"dumb", "unset"}:
        assert "\x1b" not in sent
        assert "\r" not in sent.replace("\r\n", "")
    else:
        assert BAR.search(sent)


def test_a_fetch_into_a_pipe_is_lines_alone(environment: FetchEnvironment) -> None:
    environment.publish()
    with mirror(environment.site) as one:
        one.seconds = 0.02
        done = subprocess.run(
            environment.words(one.url),
            stderr=subprocess.PIPE,
            text=True,
            check=True,
            env=variables(KINDS["usual"]),
        )
    assert not set(done.stderr) & {"\x1b", "\r"}


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["fetch", "--help"],
        ["drill", "--seed", "5"],
        ["refusals"],
        ["graph"],
        ["policy", "--key", f"ed25519:{'0' * 64}"],
        ["verify", "missing"],
        ["fetch"],
    ],
    ids=" ".join,
)
def test_no_command_colours_or_moves_what_it_lists(words: list[str], name: str) -> None:
    sent = on_terminal([PHASE_BOOT, *words], KINDS[name])
    assert sent
    if name != "usual":
        assert "\x1b" not in sent


@pytest.mark.parametrize("name", ["dumb", "without colour"])
def test_a_dry_run_offers_every_way_out_at_40_columns(
    environment: FetchEnvironment, name: str
) -> None:
    # Nothing is looked for before the person chose, so that nothing leaves this machine.
    words = ["daemon", "--dry-run", "--ask", "--policy", str(environment.policy)]
    with TerminalUser(words, environment=variables(KINDS[name]), columns=40) as user:
        user.answer("choice:", "q")
        user.leave()
        sent = user.shown
    for offer in ("r  retry", "u  type the URL of a manifest", "q  quit"):
        assert offer in sent
    assert not re.search(r"\x1b\[[0-9;]*[1-9][0-9;]*m", sent)
    if name == "dumb":
        assert "\x1b" not in sent
