"""`python -m image.hello`: assemble the first job, always to the same bytes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from phase_boot.app import edge
from phase_boot.content.digest import Digest
from phase_boot.plasma.engine import assemble
from phase_boot.trust.job import read_job

SOURCE: Final = Path(__file__).parent / "target" / "hello"
MODULE: Final = Path("build") / "hello.wasm"


def hello() -> bytes:
    """Return the module of hello.

    Raises:
        ValueError: it differs from the module that hello.json pins.
    """
    module = assemble((SOURCE / "hello.wat").read_text(encoding="ascii"))
    pinned = read_job((SOURCE / "hello.json").read_bytes())
    if (Digest.of(module), len(module)) != (pinned.module, pinned.size):
        raise ValueError(
            f"hello.wat makes {Digest.of(module)}, {len(module)} bytes, and hello.json pins "
            f"{pinned.module}, {pinned.size} bytes: correct one of them."
        )
    return module


def main() -> int:
    """Write the module."""
    try:
        module = hello()
    except ValueError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    MODULE.parent.mkdir(exist_ok=True)
    MODULE.write_bytes(module)
    print(f"{MODULE}: {Digest.of(module)}, {len(module)} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(edge.run(main))
