"""A client of QMP, QEMU's control protocol: stop, reset, set a link, dump memory."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self


class QmpError(RuntimeError):
    """QEMU refused a command, or ended; the message holds QEMU's reason."""


class Qmp:
    """A connection to the control socket at `path`, for one command at a time.

    Raises:
        QmpError: the socket does not answer within `timeout` seconds.
    """

    def __init__(self, path: Path, *, timeout: float = 30.0) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(timeout)
        self._lines = self._socket.makefile("rb")
        try:
            self._socket.connect(str(path))
            self._lines.readline()  # the greeting
            self.execute("qmp_capabilities")
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
        """Close the connection."""
        self._lines.close()
        self._socket.close()

    def events(self) -> Iterator[str]:
        """Yield the name of each asynchronous event, until QEMU ends."""
        self._socket.settimeout(None)
        with suppress(OSError):
            for line in self._lines:
                event = json.loads(line).get("event")
                if event:
                    yield str(event)

    def execute(self, command: str, arguments: Mapping[str, object] | None = None) -> object:
        """Run one command and return its result; events that arrive meanwhile are dropped.

        Raises:
            QmpError: QEMU refuses the command, does not answer, or ends.
        """
        request: dict[str, object] = {"execute": command}
        if arguments:
            request["arguments"] = dict(arguments)
        try:
            self._socket.sendall(json.dumps(request).encode() + b"\n")
            for line in self._lines:
                response = json.loads(line)
                if "return" in response:
                    return response["return"]
                if "error" in response:
                    raise QmpError(f"QEMU refused `{command}`: {response['error'].get('desc')}")
        except OSError as error:
            raise QmpError(f"QEMU did not answer `{command}`: {error}.") from error
        raise QmpError(f"QEMU ended during `{command}`.")
