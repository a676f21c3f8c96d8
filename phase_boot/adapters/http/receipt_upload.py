"""Uploads a receipt to a provider with urllib.

aiohttp takes 3 s to import on an emulated machine, too much for one small request.
"""

from __future__ import annotations

import json
import ssl
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from datetime import UTC, datetime
from http.client import HTTPException
from typing import IO, Any, Final

from phase_boot.adapters.http import tls
from phase_boot.adapters.net.address_watch import on_link
from phase_boot.console.lines import printable
from phase_boot.machine.backoff import PASSING_STATUSES, retry_after
from phase_boot.ports.finder import host_of
from phase_boot.ports.receipt_upload import UploadFailed
from phase_boot.store.layout import RECEIPTS
from phase_boot.url import below
from policies.model import Reach

STALL_SECONDS: Final = 5.0
TOTAL_SECONDS: Final = 15.0
MAX_ANSWER: Final = 4096
SHOWN: Final = 160


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Turns redirects into errors: only the provider of the boot may get its receipt."""

    def redirect_request(self, *_: object) -> None:
        """Return no request, which makes the redirect an error."""


class HttpReceiptUploader:
    """Implements `ports.receipt_upload.ReceiptUploader`; HTTP goes through ``proxy``, if any."""

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

    def upload(self, base: str, receipt: bytes, *, reach: Reach) -> None:
        """Post ``receipt`` to the provider at ``base``, within a bounded time.

        Raises:
            UploadFailed: the provider did not accept it, or is beyond ``reach``.
        """
        for url in (base, self._proxy):
            if reach is Reach.LAN and url and not self._near(host_of(url)):
                reason = "it is beyond this network, which this mode never contacts"
                # The provider is near once this machine has an address in its network.
                raise UploadFailed(reason, retryable=True)
        failed = [UploadFailed("it took too long", retryable=False)]
        # A slow drip evades the timeout of each read: the thread is then abandoned.
        posting = threading.Thread(target=self._post, args=(base, receipt, failed), daemon=True)
        posting.start()
        posting.join(self._seconds)
        if failed:
            raise failed[-1]

    def _post(self, base: str, receipt: bytes, failed: list[UploadFailed]) -> None:
        try:
            request = urllib.request.Request(  # noqa: S310 - a base is http or https, see Handed
                below(base, RECEIPTS),
                data=receipt,
                headers={"Content-Type": "application/json", "User-Agent": "phase-boot"},
            )
            with self._opener.open(request, timeout=STALL_SECONDS) as answer:
                answer.read(MAX_ANSWER)
        except urllib.error.HTTPError as error:
            with error:
                reason = f"it answered HTTP {error.code}{_why(error)}"
                again = error.code in PASSING_STATUSES
                pause = retry_after(
                    error.headers.get("Retry-After"),
                    date=error.headers.get("Date"),
                    now=datetime.now(UTC),
                )
                failed.append(UploadFailed(reason, retryable=again, retry_after=pause))
        except (OSError, ValueError, HTTPException) as error:
            reason = _reason(getattr(error, "reason", error))
            failed.append(UploadFailed(f"it could not be reached ({reason})", retryable=True))
        else:
            failed.clear()


def _reason(failure: object) -> str:
    if isinstance(failure, ssl.CertificateError):
        return tls.refusal(failure, None, datetime.now(UTC))
    return printable(failure)[:SHOWN]


def _why(answer: IO[Any]) -> str:
    """Return the provider's reason, if the response has the format of our provider."""
    try:
        document = json.loads(answer.read(MAX_ANSWER))
    except (OSError, ValueError, RecursionError):
        return ""
    match document:
        case {"error": str(text)}:
            return f": {printable(text)[:SHOWN]}"
    return ""
