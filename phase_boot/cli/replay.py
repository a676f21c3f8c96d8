"""`phase-boot replay`: check a journal, or a handoff document with the journal in it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

from phase_boot.cli_support import add_trust
from phase_boot.handoff import document
from phase_boot.handoff.document import BadHandoff, Handoff
from phase_boot.journal.record import MAX_EARLIER
from phase_boot.journal.replay import MAX_LINE, ImpossibleJournalError, Walk, replay
from phase_boot.publish.arguments import keyid_of, read_as
from phase_boot.publish.check.site_check import check_roots
from phase_boot.publish.errors import PublishError, UsageError
from phase_boot.trust.chain import Chain
from phase_boot.trust.manifest import Manifest
from phase_boot.trust.refusals import ChannelUnknown, Refusal
from phase_boot.trust.signatures import Trust
from phase_boot.trust.strict_json import MAX_BYTES, read_document
from phase_boot.trust.verify import authenticate
from policies.model import Mode

if TYPE_CHECKING:
    import argparse

_HEAD: Final = 256
"""Bytes at the start of a handoff document that contain its `schema` field."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `phase-boot replay`."""
    parser.set_defaults(func=f"{__name__}:run")
    parser.add_argument(
        "file", type=Path, metavar="FILE", help="journal of one event per line, or handoff.json"
    )
    parser.add_argument(
        "--manifest", type=Path, metavar="FILE", help="manifest to compare the journal with"
    )
    add_trust(parser, root="trusted root, with its successors in the same folder")


@dataclass(frozen=True, slots=True)
class _CheckedManifest:
    """The manifest to compare a journal or a hand-over document with."""

    handoff: Handoff | None
    manifest: Manifest | None
    signers: tuple[str, ...] | None
    """Key ids with valid signatures; None if the manifest was not checked."""


def run(options: argparse.Namespace) -> int:
    """Print the states of a journal that is consistent with the machine.

    Raises:
        PublishError: the journal cannot be read, or is inconsistent with the machine.
    """
    path: Path = options.file
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
            file.seek(0)
            if b'"schema"' in head:
                walk = _replay_handoff(document.read(file.read(document.MAX_BYTES + 1)), options)
            else:
                checked = _check_manifest(None, options)
                walk = replay(_lines(file), manifest=checked.manifest)
                _check_signers(walk, checked)
    except OSError as error:
        raise PublishError(f"{error.filename or path} cannot be read: {error.strerror}.") from error
    except (BadHandoff, ImpossibleJournalError) as error:
        raise PublishError(f"{path}: {error}") from None
    if walk is not None:
        sys.stdout.write(" -> ".join(walk.states) + "\n")
    return 0


def _lines(file: IO[bytes]) -> Iterator[str]:
    """Yield the lines of a file, cut just beyond the longest valid one."""
    while line := file.readline(MAX_LINE + 1):
        yield line.decode("utf-8", "replace")


def _replay_handoff(handoff: Handoff, options: argparse.Namespace) -> Walk | None:
    """Check a hand-over document; return its journal's walk, or None for a Private boot."""
    checked = _check_manifest(handoff, options)
    if checked.manifest is not None and handoff.version != checked.manifest.version:
        raise PublishError(
            f"The hand-over document has version {handoff.version}, but its manifest "
            f"{checked.manifest.version}."
        )
    if checked.signers is None:
        sys.stderr.write("The manifest's signatures are not checked: name --key or --root.\n")
    elif not set(handoff.signers) <= set(checked.signers):
        raise PublishError("The hand-over document names signers without valid signatures.")
    if handoff.mode == Mode.PRIVATE and not handoff.journal:
        sys.stdout.write("A Private boot hands over no journal.\n")
        return None
    # A hand-over document lacks the oldest lines of a long journal, and a restarted daemon reads
    # only the end of one.
    long = sum(len(line) for line in handoff.journal) >= MAX_EARLIER // 2
    walk = replay(handoff.journal, manifest=checked.manifest, partial=long)
    _check_signers(walk, checked)
    verified = walk.verified
    if verified is None:
        raise PublishError("The journal in the hand-over document verified no manifest.")
    for what, one, other in (
        ("signers", tuple(handoff.signers), tuple(verified["keys"])),
        ("version", str(handoff.version), verified["version"]),
        ("mode", handoff.mode, walk.mode or handoff.mode),
        *_sources(handoff, walk),
    ):
        if one != other:
            raise PublishError(
                f"The hand-over document has the {what} {one}, but its journal {other}."
            )
    return walk


def _sources(handoff: Handoff, walk: Walk) -> Iterator[tuple[str, str, str]]:
    """Yield the source of each artifact in the hand-over document and in its journal."""
    for name, source in walk.sources.items():
        if name in handoff.sources:
            yield f"source of {name}", handoff.sources[name].removeprefix("ipfs+"), source


def _check_signers(walk: Walk, checked: _CheckedManifest) -> None:
    if walk.verified is None or checked.signers is None:
        return
    if not set(walk.verified["keys"]) <= set(checked.signers):
        raise PublishError("The journal names signers without valid signatures.")


def _check_manifest(handoff: Handoff | None, options: argparse.Namespace) -> _CheckedManifest:
    """Return the manifest to compare with, and its trusted signers.

    Raises:
        PublishError: it is not a manifest, or is not signed by keys that the options trust.
    """
    named: Path | None = options.manifest
    if handoff is not None and named is not None:
        raise UsageError("A hand-over document contains its manifest: leave --manifest out.")
    trusts = options.key is not None or options.root is not None
    if handoff is None and named is None:
        if trusts or options.threshold is not None:
            raise UsageError(
                "A journal does not contain the manifest that --key and --root check: name "
                "it with --manifest, or give the handoff.json of the booted system."
            )
        return _CheckedManifest(None, None, None)
    raw = handoff.manifest.encode() if handoff is not None else _read(named or Path())
    try:
        manifest = Manifest.of(read_document(raw))
        chain = _chain(options) if trusts else None
        signers = None if chain is None else _signers(raw, manifest, chain)
    except Refusal as refusal:
        raise PublishError(f"The manifest is refused: {refusal} [{refusal.code}]") from None
    return _CheckedManifest(handoff, manifest, signers)


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MAX_BYTES + 1)


def _chain(options: argparse.Namespace) -> Chain:
    if options.root is not None:
        if options.threshold is not None:
            raise UsageError("A root has its own thresholds: leave --threshold out.")
        chain, findings = check_roots(options.root.parent, options.root)
        if chain is None:
            raise PublishError("; ".join(finding.text for finding in findings))
        return chain
    keyids = frozenset(map(keyid_of, options.key))
    threshold = 1 if options.threshold is None else options.threshold
    return Chain(read_as("--key", lambda _: Trust(keyids, threshold), " ".join(options.key)))


def _signers(raw: bytes, manifest: Manifest, chain: Chain) -> tuple[str, ...]:
    """Return the trusted signers; dates are not checked, because a journal is of the past."""
    failure: Refusal = ChannelUnknown(version=chain.version, channel=manifest.channel)
    for trust in chain.ever_trusted(manifest.channel):
        try:
            return authenticate(raw, trust).signers
        except Refusal as refusal:
            failure = refusal
    raise failure
