"""The words `root new`, `root rotate`, `root sign` and `root show`."""

from __future__ import annotations

import argparse
from pathlib import Path

from phase_boot.cli_support import Commands, add_json, add_passphrase_file, report_errors
from phase_boot.publish.dates import FORMS

KEY = "KEYID|FILE"


def register(subparsers: Commands[argparse.ArgumentParser]) -> None:
    """Add them."""
    root = subparsers.add_parser("root", help="say whose signatures count, and revoke them")
    words = root.add_subparsers(required=True, metavar="WORD")
    _register_new(words)
    _register_rotate(words)
    _register_sign(words)
    _register_show(words)


def _register_new(subparsers: Commands[argparse.ArgumentParser]) -> None:
    words = subparsers.add_parser("new", help="make the first root of a SITE")
    words.add_argument("folder", type=Path, metavar="DIR", help="such as SITE/root")
    words.add_argument(
        "--key", action="append", required=True, type=Path, metavar="FILE", help="a root key"
    )
    words.add_argument(
        "--root-key", action="append", default=[], metavar=KEY, help="a root key that signs later"
    )
    words.add_argument("--root-threshold", type=int, metavar="N", help="how many must sign; 1")
    words.add_argument("--channel", required=True, help="such as stable")
    words.add_argument(
        "--publisher", action="append", required=True, metavar=KEY, help="publishes the channel"
    )
    words.add_argument("--threshold", type=int, metavar="N", help="publishers that must sign; 1")
    words.add_argument("--expires", required=True, help=FORMS)
    words.add_argument("--force", action="store_true", help="give up a draft that is open")
    add_passphrase_file(words)
    words.set_defaults(func=report_errors(_new))


def _register_rotate(subparsers: Commands[argparse.ArgumentParser]) -> None:
    words = subparsers.add_parser("rotate", help="make the root after the newest one")
    words.add_argument("folder", type=Path, metavar="DIR", help="such as SITE/root")
    words.add_argument("--channel", help="another one is added; needed if there are several")
    for whom in ("publisher", "root-key"):
        words.add_argument(f"--add-{whom}", action="append", default=[], metavar=KEY)
        words.add_argument(f"--remove-{whom}", action="append", default=[], metavar=KEY)
    words.add_argument("--threshold", type=int, metavar="N", help="publishers that must sign")
    words.add_argument("--root-threshold", type=int, metavar="N", help="root keys that must sign")
    words.add_argument("--expires", help=FORMS)
    words.add_argument("--remove-channel", action="append", default=[], metavar="CHANNEL")
    words.add_argument("--key", action="append", type=Path, metavar="FILE", help="sign with this")
    words.add_argument("--force", action="store_true", help="give up a draft that is open")
    add_passphrase_file(words)
    words.set_defaults(func=report_errors(_rotate))


def _register_sign(subparsers: Commands[argparse.ArgumentParser]) -> None:
    words = subparsers.add_parser("sign", help="show a draft and sign it")
    words.add_argument("path", type=Path, metavar="DIR|DRAFT")
    by = words.add_mutually_exclusive_group(required=True)
    by.add_argument("--key", action="append", type=Path, metavar="FILE", help="sign with this")
    by.add_argument("--show", action="store_true", help="only show it")
    _add_root(words)
    add_passphrase_file(words)
    words.set_defaults(func=report_errors(_sign))


def _register_show(subparsers: Commands[argparse.ArgumentParser]) -> None:
    words = subparsers.add_parser("show", help="print roots, who signed them, and drafts")
    words.add_argument("path", type=Path, metavar="DIR|FILE")
    _add_root(words)
    add_json(words)
    words.set_defaults(func=report_errors(_show))


def _add_root(words: argparse.ArgumentParser) -> None:
    words.add_argument(
        "--root", type=Path, metavar="FILE", help="a root you trust; else the oldest in DIR"
    )


def _new(options: argparse.Namespace) -> int:
    from phase_boot.publish.roots import actions as root_actions  # noqa: PLC0415 - nothing of it on the boot path

    return root_actions.new(options)


def _rotate(options: argparse.Namespace) -> int:
    from phase_boot.publish.roots import actions as root_actions  # noqa: PLC0415 - nothing of it on the boot path

    return root_actions.rotate(options)


def _sign(options: argparse.Namespace) -> int:
    from phase_boot.publish.roots import actions as root_actions  # noqa: PLC0415 - nothing of it on the boot path

    return root_actions.sign(options)


def _show(options: argparse.Namespace) -> int:
    from phase_boot.publish.roots import actions as root_actions  # noqa: PLC0415 - nothing of it on the boot path

    return root_actions.show(options)
