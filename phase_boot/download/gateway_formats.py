"""In which format a gateway sends a file, as was learned within one boot.

A gateway that serves files is used like a mirror. One without (`Gateway.DeserializedResponses` of
kubo is false) answers 406, and sends CARs and blocks. Which is the case is learned by asking, once.
"""

from __future__ import annotations

from enum import IntEnum, unique
from typing import Final


@unique
class Format(IntEnum):
    """A format of the bytes of a file, the preferred first."""

    FILE = 0
    """The file itself, with byte ranges."""
    CAR = 1
    """The blocks of a byte range in one response (IPIP-402)."""
    RAW = 2
    """Each block by itself."""


MAX_GATEWAYS: Final = 256
"""Gateways that are remembered."""


class GatewayFormats:
    """Remembers which format each gateway has sent, by its base URL."""

    def __init__(self) -> None:
        """Start without a gateway."""
        self._known: dict[str, Format] = {}

    def of(self, gateway: str) -> Format | None:
        """Return the format that a gateway has sent; None if it has sent nothing yet."""
        return self._known.get(gateway)

    def may_send_files(self, gateway: str) -> bool:
        """Return whether a gateway has sent files, or nothing yet."""
        return self._known.get(gateway, Format.FILE) is Format.FILE

    def sent(self, gateway: str, form: Format) -> None:
        """Note that a gateway sent bytes in this format, and in none that is preferred."""
        if gateway in self._known or len(self._known) < MAX_GATEWAYS:
            self._known[gateway] = form
