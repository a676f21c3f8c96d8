"""What the publisher's words have in common."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from phase_boot.publish.errors import PublishError

INTERRUPTED: Final = 130
"""The exit status that shells give to a program that Ctrl-C ended."""
READER_LEFT: Final = 141
"""The one for a program whose reader is gone."""
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


def telling(run: Callable[[argparse.Namespace], int]) -> Callable[[argparse.Namespace], int]:
    """Return ``run`` with its failures told in one sentence instead of a traceback."""

    def told(options: argparse.Namespace) -> int:
        try:
            return run(options)
        except PublishError as error:
            sys.stderr.write(f"{error}\n")
            return error.status
        except KeyboardInterrupt:
            return INTERRUPTED
        except BrokenPipeError:
            # Who read has seen enough; nothing is left that Python could fail to write at its end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return READER_LEFT

    return told
