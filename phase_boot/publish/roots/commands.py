"""`phase-boot root`: its commands and their options."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from phase_boot.cli_support import add_json, subcommand
from phase_boot.publish.dates import FORMS
from phase_boot.publish.keys.commands import add_passphrase_file, add_signing_key

if TYPE_CHECKING:
    import argparse

KEY: Final = "KEYID|FILE"
_ACTIONS: Final = "phase_boot.publish.roots.actions"


def add_root(parser: argparse.ArgumentParser) -> None:
    """Add the commands of `phase-boot root`."""
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_new(subcommand(commands, "new", "create the first root of a SITE", f"{_ACTIONS}:new"))
    _add_rotate(
        subcommand(
            commands,
            "rotate",
            "create the next root, with other keys, thresholds or dates",
            f"{_ACTIONS}:rotate",
        )
    )
    _add_sign(
        subcommand(commands, "sign", "show the draft of a root and sign it", f"{_ACTIONS}:sign")
    )
    _add_show(
        subcommand(
            commands, "show", "print roots and drafts with their signatures", f"{_ACTIONS}:show"
        )
    )


def _add_new(parser: argparse.ArgumentParser) -> None:
    _add_folder(parser)
    parser.add_argument(
        "--key",
        action="append",
        required=True,
        type=Path,
        metavar="FILE",
        help="root key to sign with (repeatable)",
    )
    parser.add_argument(
        "--root-key",
        action="append",
        default=[],
        metavar=KEY,
        help="additional root key, which signs later (repeatable)",
    )
    parser.add_argument(
        "--root-threshold",
        type=int,
        metavar="N",
        help="number of root keys that must sign a root (default: 1)",
    )
    parser.add_argument("--channel", required=True, help="channel, such as stable")
    parser.add_argument(
        "--publisher",
        action="append",
        required=True,
        metavar=KEY,
        help="key that may sign releases of the channel (repeatable)",
    )
    parser.add_argument(
        "--threshold",
        type=int,
        metavar="N",
        help="number of publishers that must sign a release (default: 1)",
    )
    parser.add_argument("--expires", required=True, metavar="DATE", help=FORMS)
    parser.add_argument(
        "--announcer",
        action="append",
        default=[],
        metavar=KEY,
        help="announcing key, which signs where releases can be had, nothing else (repeatable)",
    )
    _add_force(parser)
    add_passphrase_file(parser)


def _add_rotate(parser: argparse.ArgumentParser) -> None:
    _add_folder(parser)
    parser.add_argument(
        "--channel", help="channel to change or to add (default: the only one of the root)"
    )
    for option, noun in (
        ("publisher", "a publisher of the channel"),
        ("root-key", "a root key"),
        ("announcer", "an announcing key"),
    ):
        parser.add_argument(
            f"--add-{option}",
            action="append",
            default=[],
            metavar=KEY,
            help=f"add {noun} (repeatable)",
        )
        parser.add_argument(
            f"--remove-{option}",
            action="append",
            default=[],
            metavar=KEY,
            help=f"remove {noun} (repeatable)",
        )
    parser.add_argument(
        "--threshold",
        type=int,
        metavar="N",
        help="number of publishers that must sign a release (default: as before)",
    )
    parser.add_argument(
        "--root-threshold",
        type=int,
        metavar="N",
        help="number of root keys that must sign a root (default: as before)",
    )
    parser.add_argument("--expires", metavar="DATE", help=f"{FORMS} (default: as before)")
    parser.add_argument(
        "--remove-channel",
        action="append",
        default=[],
        metavar="CHANNEL",
        help="remove a channel (repeatable)",
    )
    add_signing_key(parser, "root key to sign with")
    _add_force(parser)
    add_passphrase_file(parser)


def _add_sign(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "path", type=Path, metavar="DIR|DRAFT", help="folder of the roots, or file of the draft"
    )
    by = parser.add_mutually_exclusive_group(required=True)
    add_signing_key(by, "root key to sign with")
    by.add_argument("--show", action="store_true", help="only show it")
    _add_root(parser)
    add_passphrase_file(parser)


def _add_show(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "path", type=Path, metavar="DIR|FILE", help="folder of the roots, or file of one"
    )
    _add_root(parser)
    add_json(parser)


def _add_folder(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "folder", type=Path, metavar="DIR", help="folder of the roots, such as SITE/root"
    )


def _add_root(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--root", type=Path, metavar="FILE", help="trusted root (default: the oldest in the folder)"
    )


def _add_force(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--force", action="store_true", help="discard an open draft")
