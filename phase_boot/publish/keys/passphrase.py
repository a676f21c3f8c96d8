"""Passphrases from the terminal or a file; they are never shown and never empty."""

from __future__ import annotations

import getpass
import sys
import unicodedata
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

from phase_boot.publish.errors import PublishError
from phase_boot.publish.keys.private_file import read_private_file
from phase_boot.trust.passphrase_box import MAX_PASSPHRASE

TRIES: Final = 3


Attempts = Callable[[Path], Iterator[bytes]]
"""Returns the passphrases to try on a key file."""


def prompt_attempts(path: Path) -> Iterator[bytes]:
    """Ask for the passphrase of ``path``, up to three times."""
    for left in reversed(range(TRIES)):
        yield _prompt(f"Passphrase of {path}: ")
        again = ": try again" if left else ""
        sys.stderr.write(f"That is not the passphrase of {path}{again}.\n")


def from_files(files: Sequence[Path]) -> Attempts:
    """Return attempts from ``files``, or from the terminal without any."""
    if not files:
        return prompt_attempts
    return lambda _: map(from_file, files)


def from_file(path: Path) -> bytes:
    """Return the first line of a file that only its owner can read.

    Raises:
        PublishError: others can read it, it is empty or too long, or it cannot be read.
    """
    line = read_private_file("The passphrase file", path, MAX_PASSPHRASE + 2).partition(b"\n")[0]
    try:
        return _check_passphrase(_bytes(line.decode("utf-8").removesuffix("\r")))
    except UnicodeDecodeError:
        raise PublishError(f"{path} does not start with a line of UTF-8: write it again.") from None


def chosen(path: Path) -> bytes:
    """Ask twice for a new passphrase for ``path``.

    Raises:
        PublishError: it is empty or too long, the two differ, or there is no terminal.
    """
    first = _check_passphrase(_prompt(f"New passphrase for {path}: "))
    if _prompt("The same again: ") != first:
        raise PublishError("The two passphrases differ, so nothing was written: try again.")
    return first


def _prompt(prompt: str) -> bytes:
    with warnings.catch_warnings():
        # Without a terminal getpass warns, and then reads with echo.
        warnings.simplefilter("error", getpass.GetPassWarning)
        try:
            return _bytes(getpass.getpass(ascii(prompt)[1:-1]))
        except (getpass.GetPassWarning, EOFError):
            raise PublishError(
                "A passphrase is needed and there is no terminal to ask for it: "
                "name a file that only you can read with --passphrase-file."
            ) from None
        except UnicodeError:
            raise PublishError("The input is invalid in this terminal's encoding.") from None


def _bytes(text: str) -> bytes:
    # Keyboards may produce composed or decomposed letters.
    return unicodedata.normalize("NFC", text).encode("utf-8")


def _check_passphrase(passphrase: bytes) -> bytes:
    if not passphrase:
        raise PublishError("An empty passphrase protects nothing: choose another one.")
    if len(passphrase) > MAX_PASSPHRASE:
        raise PublishError(
            f"A passphrase may have at most {MAX_PASSPHRASE} bytes: choose a shorter one."
        )
    return passphrase
