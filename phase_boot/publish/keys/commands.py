"""`phase-boot key`: its commands and their options."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from phase_boot.cli_support import subcommand

if TYPE_CHECKING:
    import argparse

_ACTIONS: Final = "phase_boot.publish.keys.actions"


def add_key(parser: argparse.ArgumentParser) -> None:
    """Add the commands of `phase-boot key`."""
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    new = subcommand(
        commands, "new", "create a key in a new file and print its key id", f"{_ACTIONS}:new"
    )
    new.add_argument("file", type=Path, metavar="FILE", help="key file to create")
    new.add_argument(
        "--passphrase",
        action="store_true",
        help="protect the key with a passphrase that is typed",
    )
    new.add_argument(
        "--passphrase-file",
        type=Path,
        metavar="FILE",
        help="protect the key with the first line of this file",
    )
    show = subcommand(commands, "show", "print the key id of a key file", f"{_ACTIONS}:show")
    show.add_argument("file", type=Path, metavar="FILE", help="key file")
    change = subcommand(
        commands,
        "passphrase",
        "add, change or remove the passphrase of a key",
        f"{_ACTIONS}:change",
    )
    change.add_argument("file", type=Path, metavar="FILE", help="key file")
    add_passphrase_file(change)
    to = change.add_mutually_exclusive_group()
    to.add_argument("--remove", action="store_true", help="remove the passphrase")
    to.add_argument(
        "--new-passphrase-file",
        type=Path,
        metavar="FILE",
        help="read the new passphrase from the first line of this file",
    )


def add_passphrase_file(parser: argparse.ArgumentParser) -> None:
    """Add --passphrase-file, with which scripts open protected keys."""
    parser.add_argument(
        "--passphrase-file",
        action="append",
        default=[],
        type=Path,
        metavar="FILE",
        help="open protected keys with the first line of this file (repeatable)",
    )


def add_signing_key(
    container: argparse._ActionsContainer, text: str = "sign with this key"
) -> None:
    """Add --key, the file of a key to sign with."""
    container.add_argument(
        "--key", action="append", type=Path, metavar="FILE", help=f"{text} (repeatable)"
    )
