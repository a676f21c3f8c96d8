"""The publisher's words on the command line: `key`, `publish`, `sign`, `verify`, `receipts`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

from phase_boot.cli_support import Commands, add_json, add_passphrase_file, report_errors
from phase_boot.publish.dates import FORMS
from phase_boot.publish.roots import commands as root_commands

MAX_DIGITS: Final = 6


def register(subparsers: Commands[argparse.ArgumentParser]) -> None:
    """Add the publisher's commands."""
    _register_key(subparsers)
    _register_publish(subparsers)
    _register_sign(subparsers)
    _register_verify(subparsers)
    _register_receipts(subparsers)
    _register_prune(subparsers)
    root_commands.register(subparsers)


def _register_key(subparsers: Commands[argparse.ArgumentParser]) -> None:
    key = subparsers.add_parser("key", help="make, show and protect publisher keys")
    words = key.add_subparsers(required=True, metavar="WORD")
    new = words.add_parser("new", help="make a key in a new file and print its key id")
    new.add_argument("file", type=Path, metavar="FILE")
    new.add_argument("--passphrase", action="store_true", help="ask for one to seal it with")
    new.add_argument(
        "--passphrase-file", type=Path, metavar="FILE", help="seal it with this file's first line"
    )
    new.set_defaults(func=report_errors(_key_new))
    show = words.add_parser("show", help="print the key id of a key file")
    show.add_argument("file", type=Path, metavar="FILE")
    show.set_defaults(func=report_errors(_key_show))
    change = words.add_parser("passphrase", help="add, change or remove the passphrase of a key")
    change.add_argument("file", type=Path, metavar="FILE")
    add_passphrase_file(change)
    to = change.add_mutually_exclusive_group()
    to.add_argument("--remove", action="store_true", help="leave the key without a passphrase")
    to.add_argument("--new-passphrase-file", type=Path, metavar="FILE", help="do not ask for it")
    change.set_defaults(func=report_errors(_key_passphrase))


def _register_publish(subparsers: Commands[argparse.ArgumentParser]) -> None:
    words = subparsers.add_parser("publish", help="add a signed version of an OS to a SITE")
    words.add_argument("--channel", help="such as stable")
    words.add_argument("--arch", help="amd64 or arm64")
    words.add_argument("--version", help="dotted numbers, such as 2025.11.12")
    for name in ("kernel", "initramfs", "rootfs"):
        words.add_argument(f"--{name}", type=Path, metavar="FILE")
    words.add_argument(
        "--uki", type=Path, metavar="FILE", help="the same OS signed for Secure Boot, in one file"
    )
    words.add_argument(
        "--job",
        action="append",
        type=Path,
        metavar="FILE",
        help="a job that the OS runs once it is up; they run in this order",
    )
    words.add_argument(
        "--module",
        action="append",
        type=Path,
        metavar="FILE",
        help="a WebAssembly module that a job runs, stored beside the artifacts",
    )
    words.add_argument("--cmdline", help="for the kernel of the OS")
    words.add_argument("--expires", help=FORMS)
    words.add_argument("--issued", help="2025-11-12T00:00:00Z; now, if not given")
    words.add_argument("--mirror", action="append", metavar="URL", help="where the SITE is too")
    by = words.add_mutually_exclusive_group(required=True)
    by.add_argument("--key", action="append", type=Path, metavar="FILE", help="sign it with this")
    by.add_argument(
        "--unsigned", action="store_true", help="prepare it for `phase-boot sign` elsewhere"
    )
    by.add_argument(
        "--signed", type=Path, metavar="FILE", help="publish what was prepared and is signed now"
    )
    add_passphrase_file(words)
    words.add_argument("--out", required=True, type=Path, metavar="SITE")
    words.add_argument(
        "--force",
        action="store_true",
        help="skip the checks of the version, the dates, the roots of the SITE and an open draft",
    )
    _add_skip_image_checks(words)
    words.set_defaults(func=report_errors(_publish))


def _register_sign(subparsers: Commands[argparse.ArgumentParser]) -> None:
    words = subparsers.add_parser("sign", help="show a manifest and sign it, without its artifacts")
    words.add_argument("path", type=Path, metavar="MANIFEST")
    by = words.add_mutually_exclusive_group(required=True)
    by.add_argument("--key", action="append", type=Path, metavar="FILE", help="sign with this")
    by.add_argument("--show", action="store_true", help="only show it")
    add_passphrase_file(words)
    words.add_argument("--out", type=Path, metavar="FILE", help="write there instead of in place")
    words.add_argument("--force", action="store_true", help="skip the check of its dates")
    _add_skip_image_checks(words)
    words.set_defaults(func=report_errors(_sign))


def _add_skip_image_checks(words: argparse.ArgumentParser) -> None:
    words.add_argument(
        "--skip-image-checks",
        action="store_true",
        help="only warn of a kernel, initramfs or uki that no machine is known to boot",
    )


def _register_verify(subparsers: Commands[argparse.ArgumentParser]) -> None:
    words = subparsers.add_parser("verify", help="check a manifest file or a whole SITE")
    words.add_argument("path", type=Path, metavar="MANIFEST|SITE")
    _add_whom(words)
    words.add_argument("--arch", help="the one that is expected")
    words.add_argument("--channel", help="the one that is expected")
    words.add_argument("--min-version", default="0", metavar="VERSION")
    words.add_argument("--now", metavar="DATE", help="judge dates as of this one")
    add_json(words)
    words.set_defaults(func=report_errors(_verify))


def _register_receipts(subparsers: Commands[argparse.ArgumentParser]) -> None:
    words = subparsers.add_parser("receipts", help="list what machines booted and ran, by SITE")
    words.add_argument("path", type=Path, metavar="SITE")
    _add_whom(words)
    add_json(words)
    words.set_defaults(func=report_errors(_receipts))


def _register_prune(subparsers: Commands[argparse.ArgumentParser]) -> None:
    words = subparsers.add_parser("prune", help="remove from a SITE what no manifest names")
    words.add_argument("path", type=Path, metavar="SITE")
    words.add_argument(
        "--keep",
        type=_count,
        default=1,
        metavar="N",
        help="versions before the published one that stay (default: 1)",
    )
    words.add_argument("--dry-run", action="store_true", help="list them and remove nothing")
    add_json(words)
    words.set_defaults(func=report_errors(_prune))


def _count(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or len(text) > MAX_DIGITS:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of versions")
    return int(text)


def _add_whom(words: argparse.ArgumentParser) -> None:
    whom = words.add_mutually_exclusive_group()
    whom.add_argument("--key", action="append", metavar="KEY", help="a trusted key id or key file")
    whom.add_argument(
        "--root", type=Path, metavar="FILE", help="a trusted root; else the oldest in the SITE"
    )
    words.add_argument("--threshold", type=int, help="how many of the keys must sign; 1")


def _key_new(options: argparse.Namespace) -> int:
    from phase_boot.publish.keys import actions as key_actions  # noqa: PLC0415 - nothing of it on the boot path

    return key_actions.new(options)


def _key_show(options: argparse.Namespace) -> int:
    from phase_boot.publish.keys import actions as key_actions  # noqa: PLC0415 - nothing of it on the boot path

    return key_actions.show(options)


def _key_passphrase(options: argparse.Namespace) -> int:
    from phase_boot.publish.keys import actions as key_actions  # noqa: PLC0415 - nothing of it on the boot path

    return key_actions.change(options)


def _publish(options: argparse.Namespace) -> int:
    from phase_boot.publish import actions  # noqa: PLC0415 - nothing of it on the boot path

    return actions.publish(options)


def _sign(options: argparse.Namespace) -> int:
    from phase_boot.publish import actions  # noqa: PLC0415 - nothing of it on the boot path

    return actions.sign(options)


def _verify(options: argparse.Namespace) -> int:
    from phase_boot.publish import actions  # noqa: PLC0415 - nothing of it on the boot path

    return actions.verify(options)


def _prune(options: argparse.Namespace) -> int:
    from phase_boot.publish import actions  # noqa: PLC0415 - nothing of it on the boot path

    return actions.prune(options)


def _receipts(options: argparse.Namespace) -> int:
    from phase_boot.publish import actions  # noqa: PLC0415 - nothing of it on the boot path

    return actions.receipts(options)
