"""QEMU's control socket: ask the machine to stop, to reset, to unplug its cable, to dump memory."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self


class QmpError(RuntimeError):
    """QEMU refused a command or is gone; the sentence carries QEMU's words."""


class Qmp:
    """One connection to the control socket at `path`; commands run one after the other."""

    def __init__(self, path: Path, *, timeout: float = 30.0) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(timeout)
        self._lines = self._socket.makefile("rb")
        try:
            self._socket.connect(str(path))
            self._lines.readline()  # the greeting
            self.ask("qmp_capabilities")
        except OSError as error:
            self.close()
            raise QmpError(f"QEMU's control socket does not answer: {error}.") from error
        except QmpError:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Hang up."""
        self._lines.close()
        self._socket.close()

    def reports(self) -> Iterator[str]:
        """Yield the name of everything that QEMU reports by itself, until QEMU ends."""
        self._socket.settimeout(None)
        with suppress(OSError):
            for line in self._lines:
                event = json.loads(line).get("event")
                if event:
                    yield str(event)

    def ask(self, command: str, arguments: Mapping[str, object] | None = None) -> object:
        """Run one command and return its answer; what QEMU reports meanwhile is passed over.

        Raises QmpError if QEMU refuses it or goes away.
        """
        request: dict[str, object] = {"execute": command}
        if arguments:
            request["arguments"] = dict(arguments)
        try:
            self._socket.sendall(json.dumps(request).encode() + b"\n")
            for line in self._lines:
                answer = json.loads(line)
                if "return" in answer:
                    return answer["return"]
                if "error" in answer:
                    raise QmpError(f"QEMU refused `{command}`: {answer['error'].get('desc')}")
        except OSError as error:
            raise QmpError(f"QEMU did not answer `{command}`: {error}.") from error
        raise QmpError(f"QEMU ended during `{command}`.")
