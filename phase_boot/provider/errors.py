"""Errors of starting a provider."""

from __future__ import annotations


class ProvideError(Exception):
    """One sentence with the cause and what helps."""
