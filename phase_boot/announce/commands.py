"""`phase-boot announce`: its options."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

from phase_boot.cli_support import add_json
from phase_boot.publish.keys.commands import add_passphrase_file

DEFAULT_HOURS: Final = 48
MAX_HOURS: Final = 24 * 90


def add_announce(parser: argparse.ArgumentParser) -> None:
    """Add the options of `phase-boot announce`."""
    parser.set_defaults(func="phase_boot.announce.actions:announce")
    parser.add_argument("site", type=Path, metavar="SITE", help="folder of the SITE")
    by = parser.add_mutually_exclusive_group(required=True)
    by.add_argument(
        "--key",
        type=Path,
        metavar="FILE",
        help="sign with this key, which the newest root names as an announcing key",
    )
    by.add_argument(
        "--check",
        action="store_true",
        help="send nothing; compare what the named servers have with the record of the SITE",
    )
    add_passphrase_file(parser)
    _add_places(parser)
    _add_servers(parser)
    parser.add_argument(
        "--validity",
        type=_hours,
        default=DEFAULT_HOURS,
        metavar="HOURS",
        help="hours for which the record is valid (default: %(default)s)",
    )
    add_json(parser)


def _add_places(parser: argparse.ArgumentParser) -> None:
    """Add the options that name places of the SITE."""
    parser.add_argument(
        "--mirror",
        action="append",
        default=[],
        metavar="URL",
        help="mirror to announce, or to read with --check (repeatable; default: the mirrors that "
        "each manifest names)",
    )
    parser.add_argument(
        "--provider",
        action="append",
        default=[],
        metavar="MULTIADDR",
        help="address of an IPFS node that holds the SITE (repeatable)",
    )


def _add_servers(parser: argparse.ArgumentParser) -> None:
    """Add the options that name servers of records."""
    parser.add_argument(
        "--router",
        action="append",
        default=[],
        metavar="URL",
        help="delegated router that gets the record (repeatable)",
    )
    parser.add_argument(
        "--kubo",
        action="append",
        default=[],
        metavar="URL",
        help="RPC API of a kubo node that puts the record into the DHT, and provides what it holds "
        "of the SITE (repeatable)",
    )
    parser.add_argument(
        "--import",
        dest="imports",
        action="store_true",
        help="first put the manifests and files of the SITE into each --kubo node, and pin them",
    )
    parser.add_argument(
        "--gateway",
        action="append",
        default=[],
        metavar="URL",
        help="gateway to read with --check (repeatable)",
    )


def _hours(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or not 1 <= int(text[:5]) <= MAX_HOURS:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of hours from 1 to {MAX_HOURS}")
    return int(text)
