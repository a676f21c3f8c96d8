"""The publisher's commands: read the options, call the room, print the result."""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Final

from phase_boot.console.progress import progress
from phase_boot.content.arch import Arch
from phase_boot.content.version import Version
from phase_boot.publish import draft as signing
from phase_boot.publish import prune as pruning
from phase_boot.publish import release
from phase_boot.publish.arguments import date_of, keyid_of, open_keys, read_as
from phase_boot.publish.check.image_check import UnbootableError, boot_warnings
from phase_boot.publish.check.site_check import Finding, Terms, check, check_roots
from phase_boot.publish.dates import parse_expiry, rfc3339
from phase_boot.publish.errors import PublishError, UsageError
from phase_boot.publish.receipts import HEAD, findings
from phase_boot.store.layout import ROOTS, entry_path
from phase_boot.trust.chain import Chain
from phase_boot.trust.fields import parse_channel, parse_mirror
from phase_boot.trust.manifest import REQUIRED
from phase_boot.trust.signatures import Trust
from phase_boot.trust.verify import is_ahead

_FILES: Final = (*REQUIRED, "uki")
_NEEDED: Final = ("channel", "arch", "version", *REQUIRED, "expires")
"""Options that a version needs, unless a draft gives them."""


def publish(options: argparse.Namespace) -> int:
    """Add a version to a SITE: sign it, write a draft, or publish a signed draft."""
    if options.signed is not None:
        return _publish_signed(options)
    _check_given(options, _NEEDED, wanted=True)
    issued = date_of("--issued", options.issued)
    wanted = release.Release(
        version=read_as("--version", Version.parse, options.version),
        channel=read_as("--channel", parse_channel, options.channel),
        arch=read_as("--arch", Arch.parse, options.arch),
        files={name: file for name in _FILES if (file := getattr(options, name))},
        issued=issued,
        expires=read_as("--expires", lambda text: parse_expiry(text, issued), options.expires),
        cmdline=options.cmdline or "",
        mirrors=[read_as("--mirror", parse_mirror, url) for url in options.mirror or []],
        modules=options.module or [],
        jobs=options.job or [],
        skip_image_checks=options.skip_image_checks,
    )
    if not options.force:
        _check_dates(wanted.issued, wanted.expires, date_of("--issued", None))
    if options.unsigned:
        with progress(sys.stderr) as report:
            drafted = release.write_draft(options.out, wanted, force=options.force, report=report)
        sys.stdout.write(f"{drafted.path}\n")
        _warn(drafted)
        return 0
    keys = open_keys(options)
    with progress(sys.stderr) as report:
        result = release.publish_release(
            options.out, wanted, keys, force=options.force, report=report
        )
    sys.stdout.write(f"{result.path}: version {result.manifest.version}\n")
    _warn(result)
    return 0


def _publish_signed(options: argparse.Namespace) -> int:
    _check_given(options, (*_NEEDED, "issued", "cmdline", "mirror", "module", "job"), wanted=False)
    ready = signing.read_draft(options.signed)
    signers = signing.check(ready, date_of("--issued", None), force=options.force)
    if not signers:
        raise PublishError(f"{ready.path} has no signature: run `phase-boot sign` on it first.")
    with progress(sys.stderr) as report:
        result = release.publish_draft(
            options.out,
            ready,
            force=options.force,
            skip_image_checks=options.skip_image_checks,
            report=report,
        )
    by = ", ".join(sorted(signers))
    sys.stdout.write(f"{result.path}: version {result.manifest.version}, signed by {by}\n")
    _warn(result)
    return 0


def sign(options: argparse.Namespace) -> int:
    """Show a manifest, and sign it if a key is given."""
    draft = signing.read_draft(options.path)
    signing.show(draft, lambda line: sys.stdout.write(f"{line}\n"))
    sys.stdout.flush()
    signing.check(draft, date_of("--issued", None), force=options.force)
    _check_images(draft, skip=options.skip_image_checks)
    if options.show:
        return 0
    keys = open_keys(options)
    out = options.out or options.path
    signing.sign(draft, keys, out)
    sys.stdout.write(f"{out}: signed by {', '.join(key.keyid for key in keys)}\n")
    return 0


def verify(options: argparse.Namespace) -> int:
    """Print each finding; the status is 0 only if there is a manifest and every check passes."""
    chain, findings = trusted_chain(options.path, options)
    bad = 0
    terms = None if chain is None else _terms(options, chain)
    for finding in itertools.chain(findings, [] if terms is None else check(options.path, terms)):
        bad += not finding.good
        mark = "ok " if finding.good else "BAD"
        line = f"{mark} {finding.subject}: {finding.text}"
        sys.stdout.write(f"{finding.as_json() if options.json else line}\n")
    if bad:
        sys.stderr.write(f"{options.path} failed {bad} check(s).\n")
    return 1 if bad else 0


def _check_images(draft: signing.Draft, *, skip: bool) -> None:
    """Check the artifacts of a draft if it lies in its SITE, and print that they are absent if not.

    Raises:
        PublishError: no machine can boot them (unless ``skip``).
    """
    manifest = draft.manifest
    parents = draft.path.resolve().parents
    site = parents[2] if len(parents) > 2 else parents[0]  # noqa: PLR2004 - CHANNEL/ARCH/FILE
    files = {name: site / entry_path(each.digest) for name, each in manifest.artifacts.items()}
    if not all(file.is_file() for file in files.values()):
        sys.stderr.write("The artifacts are not in this folder, so the image checks are skipped.\n")
        return
    try:
        for doubt in boot_warnings(files, manifest.arch):
            sys.stderr.write(f"{doubt}\n")
    except UnbootableError as error:
        if not skip:
            raise PublishError(str(error)) from None
        sys.stderr.write(f"{error}\n")


def _check_dates(issued: datetime, expires: datetime, now: datetime) -> None:
    """Raise PublishError for dates with which every machine refuses the version now."""
    if expires <= issued:
        return
    if is_ahead(issued, now):
        raise PublishError(
            f"--issued {rfc3339(issued)} lies more than 24 hours ahead of this machine's clock "
            f"({rfc3339(now)}), so every machine refuses it now: check both, or use --force."
        )
    if expires <= now:
        raise PublishError(
            f"--expires {rfc3339(expires)} is past by this machine's clock ({rfc3339(now)}), so "
            "machines refuse it: name a later date, or use --force."
        )


def receipts(options: argparse.Namespace) -> int:
    """Print the receipts in a SITE; the status is 0 if all of them are valid."""
    require_site(options.path)
    chain, roots = trusted_chain(options.path, options)
    if chain is None:
        bad_roots = "; ".join(f"{root.subject}: {root.text}" for root in roots)
        raise PublishError(
            f"No root of the SITE can be trusted ({bad_roots}): name one with --root."
        )
    results = list(findings(options.path, chain))
    if not options.json and results:
        sys.stdout.write(f"{HEAD}\n")
    for finding in results:
        sys.stdout.write(f"{finding.as_json() if options.json else finding.line()}\n")
    bad = sum(finding.fault is not None for finding in results)
    ran = sum(finding.ran for finding in results)
    nodes = len({finding.path.parent for finding in results})
    sys.stderr.write(f"{len(results)} receipts of {nodes} machines: {ran} ran, {bad} invalid.\n")
    return 1 if bad else 0


def prune(options: argparse.Namespace) -> int:
    """Remove files that no manifest names, and print them."""
    require_site(options.path)
    result = pruning.prune(options.path, keep=options.keep, dry_run=options.dry_run)
    for file in result.removed:
        line = json.dumps({"path": file.path, "size": file.size})
        sys.stdout.write(f"{line if options.json else file.path}\n")
    for path in result.unexpected:
        sys.stderr.write(f"{ascii(path)[1:-1]} is not of the layout and was kept: remove it.\n")
    verb = "would be removed" if options.dry_run else "removed"
    sys.stderr.write(f"{len(result.removed)} files, {result.freed} bytes {verb}.\n")
    return 0


def require_site(site: Path) -> None:
    """Raise PublishError if ``site`` is no folder: an absent SITE would pass every check."""
    if not site.is_dir():
        raise PublishError(f"{site} is not a folder: name the root of a SITE.")


def trusted_chain(site: Path, options: argparse.Namespace) -> tuple[Chain | None, list[Finding]]:
    """Return the chain of trust that the options select, and the findings about its roots.

    Raises:
        UsageError: the options name no key and no root, and the SITE has no roots.
    """
    if options.key is not None:
        keyids = frozenset(map(keyid_of, options.key))
        threshold = 1 if options.threshold is None else options.threshold
        words = " ".join(options.key)
        return Chain(read_as("--key", lambda _: Trust(keyids, threshold), words)), []
    folder = site / ROOTS
    if options.threshold is not None or not (options.root is not None or folder.is_dir()):
        raise UsageError(
            f"Name trusted keys with --key (and --threshold), or a root with --root: {site} is "
            "checked by its own roots only if it has some and --threshold is left out."
        )
    return check_roots(folder, options.root)


def _terms(options: argparse.Namespace, chain: Chain) -> Terms:
    return Terms(
        chain=chain,
        now=date_of("--now", options.now),
        min_version=read_as("--min-version", Version.parse, options.min_version),
        arch=read_as("--arch", Arch.parse, options.arch) if options.arch else None,
        channel=read_as("--channel", parse_channel, options.channel) if options.channel else None,
    )


def _warn(result: release.Published) -> None:
    for sentence in (result.root_warning, *result.warnings):
        if sentence is not None:
            sys.stderr.write(f"{sentence}\n")


def _check_given(options: argparse.Namespace, names: Iterable[str], *, wanted: bool) -> None:
    wrong = [f"--{name}" for name in names if (getattr(options, name) is not None) is not wanted]
    if wrong and wanted:
        raise UsageError(f"Publishing needs {', '.join(wrong)}: add what is missing.")
    if wrong:
        raise UsageError(f"The draft has its own {', '.join(wrong)}: leave these options out.")
