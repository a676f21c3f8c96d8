"""Shared by all commands: the error that ends a command with a sentence, and common options.

A leaf module: rooms that offer commands import it, and it imports none of them. argparse is
imported by the caller, because commands that run while a machine boots do without it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final

if TYPE_CHECKING:
    import argparse

_MAX_PORT: Final = 65535


class CommandError(Exception):
    """One sentence with the cause and the way out; ``status`` is the command's exit status."""

    status: ClassVar[int] = 1


def subcommand(
    subcommands: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    text: str,
    function: str,
) -> argparse.ArgumentParser:
    """Add a command below another one, and return its parser.

    Args:
        subcommands: those of the command above.
        name: its name.
        text: its help; a clause without a full stop.
        function: the function that runs it, as ``module:function``, imported when it is called.
    """
    parser = subcommands.add_parser(name, help=text, description=sentence(text))
    parser.set_defaults(func=function)
    return parser


def sentence(text: str) -> str:
    """Return a help text as the sentence that heads the help of its command."""
    return f"{text[0].upper()}{text[1:]}."


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add --json, which prints a listing for programs."""
    parser.add_argument("--json", action="store_true", help="print one JSON object per line")


def add_trust(
    parser: argparse.ArgumentParser,
    *,
    root: str,
    key: str = "KEYID|FILE",
    policy: str | None = None,
    required: bool = False,
) -> None:
    """Add --key, --root and --threshold, which say whose signatures count.

    Args:
        parser: that of the command.
        root: the help of --root.
        key: the forms in which --key takes a key.
        policy: the help of --policy, which may name them instead; None: there is no such option.
        required: whether one of them must be given.
    """
    group = parser.add_mutually_exclusive_group(required=required)
    group.add_argument(
        "--key", action="append", metavar=key, help="trusted publisher key (repeatable)"
    )
    group.add_argument("--root", type=Path, metavar="FILE", help=root)
    if policy is not None:
        group.add_argument("--policy", type=Path, metavar="FILE", help=policy)
    parser.add_argument(
        "--threshold",
        type=int,
        metavar="N",
        help="number of trusted keys that must sign (default: 1)",
    )


def port_number(text: str) -> int:
    """Return the TCP port that an option names; raise ArgumentTypeError for no port."""
    if not text.isascii() or not text.isdecimal() or int(text) > _MAX_PORT:
        import argparse  # noqa: PLC0415 - loaded already where an option is read

        raise argparse.ArgumentTypeError(f"a port is a number from 0 to {_MAX_PORT}")
    return int(text)
