"""What the publisher's words have in common."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from phase_boot.publish.errors import PublishError

Commands = argparse._SubParsersAction  # noqa: SLF001 - argparse gives the type no other name


def add_passphrase_file(words: argparse.ArgumentParser) -> None:
    """Let scripts open sealed keys."""
    words.add_argument(
        "--passphrase-file",
        action="append",
        default=[],
        type=Path,
        metavar="FILE",
        help="open sealed keys with this file's first line instead of asking",
    )


def add_json(words: argparse.ArgumentParser) -> None:
    """Let programs read a listing."""
    words.add_argument("--json", action="store_true", help="print one JSON object a line")


def telling(run: Callable[[argparse.Namespace], int]) -> Callable[[argparse.Namespace], int]:
    """Return ``run`` with a PublishError printed as its sentence and returned as its status."""

    def told(options: argparse.Namespace) -> int:
        try:
            return run(options)
        except PublishError as error:
            sys.stderr.write(f"{error}\n")
            return error.status

    return told
