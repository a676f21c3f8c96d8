"""Reads the PCRs of a TPM from sysfs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

BANK: Final = Path("sys/class/tpm/tpm0/pcr-sha256")
STATIC: Final = range(16)
"""PCRs that only a restart clears; higher ones are for debugging and dynamic launch."""
_VALUE: Final = re.compile(r"[0-9a-f]{64}")


def pcrs(root: Path = Path("/")) -> dict[int, str]:
    """Return the PCRs of the SHA-256 bank in hex; empty without such a TPM."""
    found = {number: _value(root / BANK / str(number)) for number in STATIC}
    return {number: value for number, value in found.items() if value is not None}


def _value(path: Path) -> str | None:
    try:
        text = path.read_text(encoding="ascii").strip().lower()
    except (OSError, ValueError):
        return None
    return text if _VALUE.fullmatch(text) else None
