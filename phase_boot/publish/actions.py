"""What the publisher's words do: read the arguments, do it, print the outcome."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from phase_boot.publish import release
from phase_boot.publish.check import Terms, check
from phase_boot.publish.dates import parse_expiry
from phase_boot.publish.errors import UsageError
from phase_boot.publish.keyfile import read_key, read_keyfile
from phase_boot.publish.passphrase import from_files
from phase_boot.trust.arch import Arch
from phase_boot.trust.fields import parse_channel, parse_date
from phase_boot.trust.keys import KEYID_PREFIX, SigningKey
from phase_boot.trust.manifest import REQUIRED
from phase_boot.trust.signatures import Trust
from phase_boot.trust.version import Version

_T = TypeVar("_T")


def publish(options: argparse.Namespace) -> int:
    """Add a version to a SITE."""
    issued = _date("--issued", options.issued)
    wanted = release.Release(
        version=_read("--version", Version.parse, options.version),
        channel=_read("--channel", parse_channel, options.channel),
        arch=_read("--arch", Arch.parse, options.arch),
        files={name: getattr(options, name) for name in REQUIRED},
        issued=issued,
        expires=_read("--expires", lambda text: parse_expiry(text, issued), options.expires),
        cmdline=options.cmdline,
        mirrors=options.mirror,
    )
    done = release.publish(options.out, wanted, _keys(options), force=options.force)
    sys.stdout.write(f"{done.path}: version {done.manifest.version}\n")
    return 0


def verify(options: argparse.Namespace) -> int:
    """Print each finding; the status is 0 only if there is a manifest and all is good."""
    bad = 0
    for finding in check(options.path, _terms(options)):
        bad += not finding.good
        mark = "ok " if finding.good else "BAD"
        sys.stdout.write(f"{mark} {finding.subject}: {finding.text}\n")
    if bad:
        sys.stderr.write(f"{options.path} failed {bad} check(s).\n")
    return 1 if bad else 0


def _terms(options: argparse.Namespace) -> Terms:
    return Terms(
        trust=_trust(options),
        now=_date("--now", options.now),
        min_version=_read("--min-version", Version.parse, options.min_version),
        arch=_read("--arch", Arch.parse, options.arch) if options.arch else None,
        channel=_read("--channel", parse_channel, options.channel) if options.channel else None,
    )


def _trust(options: argparse.Namespace) -> Trust:
    keyids = frozenset(
        key if key.startswith(KEYID_PREFIX) else read_keyfile(Path(key)).keyid
        for key in options.key
    )
    return _read("--key", lambda _: Trust(keyids, options.threshold), " ".join(options.key))


def _keys(options: argparse.Namespace) -> list[SigningKey]:
    """Read the keys, each once however often it was named."""
    attempts = from_files(options.passphrase_file)
    keys = (read_key(file, attempts) for file in dict.fromkeys(options.key))
    return list({key.keyid: key for key in keys}.values())


def _date(option: str, text: str | None) -> datetime:
    if text is None:
        return datetime.now(UTC).replace(microsecond=0)
    return _read(option, parse_date, text)


def _read(option: str, parse: Callable[[str], _T], text: str) -> _T:
    try:
        return parse(text)
    except ValueError as error:
        raise UsageError(f"{option} {text!r} cannot be used: {error}.") from None
