"""The publisher's commands and their options: `publish`, `sign`, `verify`, `receipts`, `prune`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

from phase_boot.cli_support import add_json, add_trust
from phase_boot.publish.dates import FORMS
from phase_boot.publish.keys.commands import add_passphrase_file, add_signing_key

MAX_DIGITS: Final = 6
_ACTIONS: Final = "phase_boot.publish.actions"
_ROOT_HELP: Final = "trusted root (default: the oldest in the SITE)"


def add_publish(parser: argparse.ArgumentParser) -> None:
    """Add the options of `phase-boot publish`."""
    parser.set_defaults(func=f"{_ACTIONS}:publish")
    parser.add_argument(
        "--out", required=True, type=Path, metavar="SITE", help="folder of the SITE"
    )
    by = parser.add_mutually_exclusive_group(required=True)
    add_signing_key(by)
    by.add_argument(
        "--unsigned",
        action="store_true",
        help="write a draft, to be signed elsewhere with `phase-boot sign`",
    )
    by.add_argument(
        "--signed", type=Path, metavar="FILE", help="publish this draft, which has been signed"
    )
    add_passphrase_file(parser)
    _add_release(parser)
    parser.add_argument(
        "--force",
        action="store_true",
        help="skip the checks of version, dates, roots of the SITE and open draft",
    )
    _add_skip_image_checks(parser)


def _add_release(parser: argparse.ArgumentParser) -> None:
    """Add the options that describe a release."""
    parser.add_argument("--channel", help="channel, such as stable")
    parser.add_argument("--arch", help="amd64 or arm64")
    parser.add_argument("--version", help="dotted numbers, such as 2025.11.12")
    for name in ("kernel", "initramfs", "rootfs"):
        parser.add_argument(f"--{name}", type=Path, metavar="FILE", help=f"file of the {name}")
    parser.add_argument(
        "--uki",
        type=Path,
        metavar="FILE",
        help="unified kernel image of the same OS, signed for Secure Boot",
    )
    parser.add_argument("--cmdline", help="command line of the kernel (default: empty)")
    parser.add_argument("--expires", metavar="DATE", help=FORMS)
    parser.add_argument(
        "--issued", metavar="DATE", help="such as 2025-11-12T00:00:00Z (default: now)"
    )
    parser.add_argument(
        "--mirror", action="append", metavar="URL", help="additional mirror URL (repeatable)"
    )
    parser.add_argument(
        "--job",
        action="append",
        type=Path,
        metavar="FILE",
        help="job that the booted OS runs; jobs run in the given order (repeatable)",
    )
    parser.add_argument(
        "--module",
        action="append",
        type=Path,
        metavar="FILE",
        help="WebAssembly module of a job, stored beside the artifacts (repeatable)",
    )


def add_sign(parser: argparse.ArgumentParser) -> None:
    """Add the options of `phase-boot sign`."""
    parser.set_defaults(func=f"{_ACTIONS}:sign")
    parser.add_argument("path", type=Path, metavar="MANIFEST", help="manifest file or draft")
    by = parser.add_mutually_exclusive_group(required=True)
    add_signing_key(by)
    by.add_argument("--show", action="store_true", help="only show it")
    add_passphrase_file(parser)
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="write to this file (default: MANIFEST)"
    )
    parser.add_argument("--force", action="store_true", help="skip the check of its dates")
    _add_skip_image_checks(parser)


def _add_skip_image_checks(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--skip-image-checks",
        action="store_true",
        help="only warn if no known machine can boot the kernel, initramfs or uki",
    )


def add_verify(parser: argparse.ArgumentParser) -> None:
    """Add the options of `phase-boot verify`."""
    parser.set_defaults(func=f"{_ACTIONS}:verify")
    parser.add_argument(
        "path", type=Path, metavar="MANIFEST|SITE", help="manifest file, or folder of a SITE"
    )
    add_trust(parser, root=_ROOT_HELP)
    parser.add_argument("--arch", help="expected architecture (default: that of the manifest)")
    parser.add_argument("--channel", help="expected channel (default: that of the manifest)")
    parser.add_argument(
        "--min-version",
        default="0",
        metavar="VERSION",
        help="refuse versions below this one (default: %(default)s)",
    )
    parser.add_argument("--now", metavar="DATE", help="check dates as of this one (default: now)")
    add_json(parser)


def add_receipts(parser: argparse.ArgumentParser) -> None:
    """Add the options of `phase-boot receipts`."""
    parser.set_defaults(func=f"{_ACTIONS}:receipts")
    parser.add_argument("path", type=Path, metavar="SITE", help="folder of the SITE")
    add_trust(parser, root=_ROOT_HELP)
    add_json(parser)


def add_prune(parser: argparse.ArgumentParser) -> None:
    """Add the options of `phase-boot prune`."""
    parser.set_defaults(func=f"{_ACTIONS}:prune")
    parser.add_argument("path", type=Path, metavar="SITE", help="folder of the SITE")
    parser.add_argument(
        "--keep",
        type=_count,
        default=1,
        metavar="N",
        help="number of versions to keep before the published one (default: %(default)s)",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="list the files without removing them"
    )
    add_json(parser)


def _count(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or len(text) > MAX_DIGITS:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of versions")
    return int(text)
