"""What commands share: options, and the error that ends one with a sentence."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

Commands = argparse._SubParsersAction  # noqa: SLF001 - argparse gives the type no other name


class CommandError(Exception):
    """One sentence with the cause and the way out; ``status`` is the command's exit status."""

    status: ClassVar[int] = 1


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


def report_errors(run: Callable[[argparse.Namespace], int]) -> Callable[[argparse.Namespace], int]:
    """Return ``run`` with a CommandError printed as its sentence and returned as its status."""

    def told(options: argparse.Namespace) -> int:
        try:
            return run(options)
        except CommandError as error:
            sys.stderr.write(f"{error}\n")
            return error.status

    return told
