"""The one family of errors that the builder reports as a sentence."""

from __future__ import annotations


class BuildError(Exception):
    """A build that cannot go on; the text names the cause and the way out."""
