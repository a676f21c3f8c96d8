"""Handing a receipt in to a provider, by the standard library.

aiohttp takes three seconds to import on an emulated machine, and this is one small request.
"""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from http.client import HTTPException
from typing import IO, Any, Final

from phase_boot.adapters.link import on_link
from phase_boot.console.lines import printable
from phase_boot.ports.finder import host_of
from policies.model import Reach

RECEIPTS: Final = "receipts"
STALL_SECONDS: Final = 5.0
TOTAL_SECONDS: Final = 15.0
MAX_ANSWER: Final = 4096
SHOWN: Final = 160


class NotHandedIn(Exception):
    """A provider did not take a receipt; the text is the reason."""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Leaves every redirect an error: a receipt goes to whom the boot came from, or to nobody."""

    def redirect_request(self, *_: object) -> None:
        """Follow nobody."""


class ReceiptDesk:
    """Implements `plasma.booted.Desk`; ``proxy`` is what HTTP goes through here, if anything."""

    def __init__(
        self,
        *,
        proxy: str = "",
        near: Callable[[str], bool] = on_link,
        seconds: float = TOTAL_SECONDS,
    ) -> None:
        proxies = {"http": proxy, "https": proxy} if proxy else {}
        self._proxy = proxy
        self._near = near
        self._seconds = seconds
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler(proxies), _NoRedirect()
        )

    def hand_in(self, base: str, receipt: bytes, *, reach: Reach) -> None:
        """Post ``receipt`` to the provider at ``base``, within a bounded time.

        Raises:
            NotHandedIn: it did not take it, or lies beyond ``reach``.
        """
        for url in (base, self._proxy):
            if reach is Reach.LAN and url and not self._near(host_of(url).strip("[]")):
                raise NotHandedIn(f"this mode tells nobody beyond this network, as {base} is")
        failed: list[str] = ["it took too long"]
        # A server that drips keeps every single wait short: the thread is left behind then.
        posting = threading.Thread(target=self._post, args=(base, receipt, failed), daemon=True)
        posting.start()
        posting.join(self._seconds)
        if failed:
            raise NotHandedIn(failed[-1])

    def _post(self, base: str, receipt: bytes, failed: list[str]) -> None:
        try:
            request = urllib.request.Request(  # noqa: S310 - a base is http or https, see Handed
                f"{base}/{RECEIPTS}",
                data=receipt,
                headers={"Content-Type": "application/json", "User-Agent": "phase-boot"},
            )
            with self._opener.open(request, timeout=STALL_SECONDS) as answer:
                answer.read(MAX_ANSWER)
        except urllib.error.HTTPError as error:
            with error:
                failed.append(f"it answered HTTP {error.code}{_why(error)}")
        except (OSError, ValueError, HTTPException) as error:
            reason = getattr(error, "reason", error)
            failed.append(f"it could not be reached ({printable(reason)[:SHOWN]})")
        else:
            failed.clear()


def _why(answer: IO[Any]) -> str:
    """Return what the provider says of its refusal, if it says it as ours do."""
    try:
        said = json.loads(answer.read(MAX_ANSWER))
    except (OSError, ValueError, RecursionError):
        return ""
    match said:
        case {"error": str(text)}:
            return f": {printable(text)[:SHOWN]}"
    return ""
