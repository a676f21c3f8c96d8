"""Where a booted machine hands in the receipts of what it ran."""

from __future__ import annotations

from typing import Protocol

from policies.model import Reach


class UploadFailed(Exception):
    """A provider did not take a receipt; the text is the reason.

    Attributes:
        retryable: whether it may take it in a while.
        retry_after: seconds that the provider asked to be left alone, if it did.
    """

    def __init__(self, reason: str, *, retryable: bool, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.retryable = retryable
        self.retry_after = retry_after


class ReceiptUploader(Protocol):
    """Gives receipts to providers."""

    def upload(self, base: str, receipt: bytes, *, reach: Reach) -> None:
        """Give a receipt to the provider at ``base``, within a bounded time.

        Raises:
            UploadFailed: it did not take it, or lies beyond ``reach``.
        """
