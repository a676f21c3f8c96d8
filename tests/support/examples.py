"""How many examples a property is tried with.

`make test` tries few. `make properties` loads the profile of `tests/conftest.py` that tries more.
"""

from __future__ import annotations

from typing import Final

from hypothesis import settings

USUAL: Final = 100
"""What hypothesis tries unless a test or a profile says otherwise."""


def examples(usual: int) -> int:
    """Return how many examples the profile asks for of a test that usually tries ``usual``."""
    return usual * settings().max_examples // USUAL
