"""The number of examples that a property is tried with.

`make test` tries few. `make properties` loads the profile of `tests/conftest.py` that tries more.
"""

from __future__ import annotations

from typing import Final

from hypothesis import settings

USUAL: Final = 100
"""The default of hypothesis."""


def examples(usual: int) -> int:
    """Return ``usual``, scaled by the profile."""
    return usual * settings().max_examples // USUAL
