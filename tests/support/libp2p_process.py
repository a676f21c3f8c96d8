"""The process that speaks libp2p, as a test runs it: requests in, answers out."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Final

SECONDS: Final = 60
"""Bound of the whole process."""


class Libp2pProcess:
    """A running process."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self._number = 0
        assert process.stdin is not None
        assert process.stdout is not None
        self.input = process.stdin
        self.output = process.stdout

    def send(self, **fields: object) -> None:
        """Send a request."""
        self.input.write(json.dumps(fields).encode() + b"\n")
        self.input.flush()

    def receive(self) -> dict[str, Any]:
        """Return the next answer, whichever request it belongs to."""
        answer: dict[str, Any] = json.loads(self.output.readline())
        return answer

    def ask(self, **fields: object) -> list[dict[str, Any]]:
        """Send a request and return its answers, the last of which has ``end``."""
        self._number += 1
        self.send(id=self._number, **fields)
        answers: list[dict[str, Any]] = []
        while not answers or "end" not in answers[-1]:
            answers.append(self.receive())
            assert answers[-1].pop("id") == self._number
        return answers


@contextmanager
def libp2p_process(*args: str, words: Sequence[str] | None = None) -> Iterator[Libp2pProcess]:
    """Run the process, or another command line for it, until the end of the block."""
    words = words or [sys.executable, "-m", "phase_boot.libp2p_node", *args]
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    node = Libp2pProcess(process)
    try:
        yield node
    finally:
        process.kill()
        process.wait(SECONDS)
        for stream in (node.input, node.output):
            with suppress(BrokenPipeError):
                stream.close()
