"""What the publisher's words do: read the arguments, do it, print the outcome."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, TypeVar

from phase_boot.publish import release
from phase_boot.publish import sign as signing
from phase_boot.publish.check import Terms, check
from phase_boot.publish.dates import parse_expiry
from phase_boot.publish.errors import PublishError, UsageError
from phase_boot.publish.keyfile import read_key, read_keyfile
from phase_boot.publish.passphrase import from_files
from phase_boot.trust.arch import Arch
from phase_boot.trust.fields import parse_channel, parse_date
from phase_boot.trust.keys import KEYID_PREFIX, SigningKey
from phase_boot.trust.manifest import REQUIRED
from phase_boot.trust.signatures import Trust
from phase_boot.trust.version import Version

_T = TypeVar("_T")
_NEEDED: Final = ("channel", "arch", "version", *REQUIRED, "expires")
"""What every version needs, unless it stands in a manifest already."""


def publish(options: argparse.Namespace) -> int:
    """Add a version to a SITE: signed, still to be signed, or signed meanwhile."""
    if options.signed is not None:
        return _publish_signed(options)
    _check_given(options, _NEEDED, wanted=True)
    issued = _date("--issued", options.issued)
    wanted = release.Release(
        version=_read("--version", Version.parse, options.version),
        channel=_read("--channel", parse_channel, options.channel),
        arch=_read("--arch", Arch.parse, options.arch),
        files={name: getattr(options, name) for name in REQUIRED},
        issued=issued,
        expires=_read("--expires", lambda text: parse_expiry(text, issued), options.expires),
        cmdline=options.cmdline or "",
        mirrors=options.mirror or [],
    )
    if options.unsigned:
        sys.stdout.write(f"{release.draft(options.out, wanted, force=options.force).path}\n")
        return 0
    done = release.publish(options.out, wanted, _keys(options), force=options.force)
    sys.stdout.write(f"{done.path}: version {done.manifest.version}\n")
    return 0


def _publish_signed(options: argparse.Namespace) -> int:
    _check_given(options, (*_NEEDED, "issued", "cmdline", "mirror"), wanted=False)
    ready = signing.read_draft(options.signed)
    signers = signing.check(ready, _date("--issued", None), force=options.force)
    if not signers:
        raise PublishError(f"Nobody signed {ready.path}: run `phase-boot sign` on it first.")
    done = release.publish_signed(options.out, ready, force=options.force)
    by = ", ".join(sorted(signers))
    sys.stdout.write(f"{done.path}: version {done.manifest.version}, signed by {by}\n")
    return 0


def sign(options: argparse.Namespace) -> int:
    """Show a manifest, and sign it if a key is named."""
    found = signing.read_draft(options.path)
    signing.show(found, lambda line: sys.stdout.write(f"{line}\n"))
    sys.stdout.flush()
    signing.check(found, _date("--issued", None), force=options.force)
    if options.show:
        return 0
    keys = _keys(options)
    out = options.out or options.path
    signing.sign(found, keys, out)
    sys.stdout.write(f"{out}: signed by {', '.join(key.keyid for key in keys)}\n")
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


def _check_given(options: argparse.Namespace, names: Iterable[str], *, wanted: bool) -> None:
    wrong = [f"--{name}" for name in names if (getattr(options, name) is not None) is not wanted]
    if wrong and wanted:
        raise UsageError(f"Without {', '.join(wrong)} there is nothing to publish: name them.")
    if wrong:
        raise UsageError(f"{', '.join(wrong)} stand in what was signed: leave them out.")


def _date(option: str, text: str | None) -> datetime:
    if text is None:
        return datetime.now(UTC).replace(microsecond=0)
    return _read(option, parse_date, text)


def _read(option: str, parse: Callable[[str], _T], text: str) -> _T:
    try:
        return parse(text)
    except ValueError as error:
        raise UsageError(f"{option} {text!r} cannot be used: {error}.") from None
