"""What whoever starts a provider is told when it cannot be done."""

from __future__ import annotations


class ProvideError(Exception):
    """One sentence with the cause and what helps."""
