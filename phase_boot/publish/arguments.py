"""Parsing of option values: dates, key ids, key files."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from phase_boot.publish.errors import UsageError
from phase_boot.publish.keys.keyfile import read_key, read_keyfile
from phase_boot.publish.keys.passphrase import from_files
from phase_boot.trust.fields import parse_date
from phase_boot.trust.keys import KEYID_PREFIX, SigningKey, parse_keyid

_T = TypeVar("_T")


def read_as(option: str, parse: Callable[[str], _T], text: str) -> _T:
    """Return an argument parsed by ``parse``.

    Raises:
        UsageError: ``parse`` raised a ValueError.
    """
    try:
        return parse(text)
    except ValueError as error:
        raise UsageError(f"{option} {text!r} cannot be used: {error}.") from None


def date_of(option: str, text: str | None) -> datetime:
    """Return a date; the current one if none is given."""
    if text is None:
        return datetime.now(UTC).replace(microsecond=0)
    return read_as(option, parse_date, text)


def keyid_of(word: str) -> str:
    """Return a key id, given as such or as the name of its key file."""
    if word.startswith(KEYID_PREFIX):
        return read_as("The key", parse_keyid, word)
    return read_keyfile(Path(word)).keyid


def open_keys(options: argparse.Namespace) -> list[SigningKey]:
    """Open the key files of --key, each once even if it is named twice."""
    attempts = from_files(options.passphrase_file)
    keys = (read_key(file, attempts) for file in dict.fromkeys(options.key or ()))
    return list({key.keyid: key for key in keys}.values())
