"""Port by which a booted machine uploads the receipts of its jobs to providers."""

from __future__ import annotations

from typing import Protocol

from policies.model import Reach


class UploadFailed(Exception):
    """A provider did not accept a receipt; the text is the reason.

    Attributes:
        retryable: whether it may accept the receipt later.
        retry_after: seconds that the provider asked to wait; None if it named no pause.
    """

    def __init__(self, reason: str, *, retryable: bool, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.retryable = retryable
        self.retry_after = retry_after


class ReceiptUploader(Protocol):
    """Uploads receipts to providers."""

    def upload(self, base: str, receipt: bytes, *, reach: Reach) -> None:
        """Upload a receipt to the provider at ``base``, within a bounded time.

        Raises:
            UploadFailed: the provider did not accept it, or is beyond ``reach``.
        """
