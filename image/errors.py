"""Base class of the errors that the builder reports as one sentence."""

from __future__ import annotations


class BuildError(Exception):
    """A build that cannot go on; the text names the cause and the way out."""
