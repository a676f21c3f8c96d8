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
from phase_boot.journal.replay import MAX_EARLIER, MAX_LINE, ImpossibleJournalError, Walk, replay
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
    """What is judged: a journal's lines, or a hand-over."""

    handoff: Handoff | None
    manifest: Manifest | None
    signers: tuple[str, ...] | None
    """Whose signatures hold, where the manifest was checked."""


def run(options: argparse.Namespace) -> int:
    """Print the states of a journal, if the machine can have written it.

    Raises:
        PublishError: it cannot be read, or cannot have been written by this machine.
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
    """Yield the lines of a file, none of them longer than one can be."""
    while line := file.readline(MAX_LINE + 1):
        yield line.decode("utf-8", "replace")


def _replay_handoff(handoff: Handoff, options: argparse.Namespace) -> Walk | None:
    """Check a hand-over, and return the walk of its journal; a Private one has none."""
    checked = _check_manifest(handoff, options)
    if checked.manifest is not None and handoff.version != checked.manifest.version:
        raise PublishError(
            f"The hand-over has the version {handoff.version}, and its manifest "
            f"{checked.manifest.version}."
        )
    if checked.signers is None:
        sys.stderr.write("The manifest's signatures are not checked: name --key or --root.\n")
    elif not set(handoff.signers) <= set(checked.signers):
        raise PublishError("The hand-over names signers whose signatures do not hold.")
    if handoff.mode == Mode.PRIVATE and not handoff.journal:
        sys.stdout.write("A Private boot hands over no journal.\n")
        return None
    # The oldest lines are left out of a hand-over that would be too large, and a daemon that is
    # started again reads the end of a long journal.
    long = sum(len(line) for line in handoff.journal) >= MAX_EARLIER // 2
    walk = replay(handoff.journal, manifest=checked.manifest, partial=long)
    _check_signers(walk, checked)
    verified = walk.verified
    if verified is None:
        raise PublishError("The journal of the hand-over verified no manifest.")
    for what, one, other in (
        ("signers", tuple(handoff.signers), tuple(verified["keys"])),
        ("version", str(handoff.version), verified["version"]),
        ("mode", handoff.mode, walk.mode or handoff.mode),
        *_sources(handoff, walk),
    ):
        if one != other:
            raise PublishError(f"The hand-over has the {what} {one}, and its journal {other}.")
    return walk


def _sources(handoff: Handoff, walk: Walk) -> Iterator[tuple[str, str, str]]:
    """Yield where each artifact came from, as the hand-over and as its journal has it."""
    for name, source in walk.sources.items():
        if name in handoff.sources:
            yield f"source of {name}", handoff.sources[name].removeprefix("ipfs+"), source


def _check_signers(walk: Walk, checked: _CheckedManifest) -> None:
    if walk.verified is None or checked.signers is None:
        return
    if not set(walk.verified["keys"]) <= set(checked.signers):
        raise PublishError("The journal names signers whose signatures do not hold.")


def _check_manifest(handoff: Handoff | None, options: argparse.Namespace) -> _CheckedManifest:
    """Return the manifest to compare with, and who of those trusted signed it.

    Raises:
        PublishError: it is no manifest, or not signed by those whom the arguments trust.
    """
    named: Path | None = options.manifest
    if handoff is not None and named is not None:
        raise UsageError("A hand-over carries its manifest: leave --manifest out.")
    trusts = options.key is not None or options.root is not None
    if handoff is None and named is None:
        if trusts or options.threshold is not None:
            raise UsageError(
                "A journal does not carry the manifest that --key and --root would judge: name "
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
            raise UsageError("A root says itself how many must sign: leave --threshold out.")
        chain, findings = check_roots(options.root.parent, options.root)
        if chain is None:
            raise PublishError("; ".join(finding.text for finding in findings))
        return chain
    keyids = frozenset(map(keyid_of, options.key))
    threshold = 1 if options.threshold is None else options.threshold
    return Chain(read_as("--key", lambda _: Trust(keyids, threshold), " ".join(options.key)))


def _signers(raw: bytes, manifest: Manifest, chain: Chain) -> tuple[str, ...]:
    """Return who signed; dates do not count, for a journal is of the past."""
    failure: Refusal = ChannelUnknown(version=chain.version, channel=manifest.channel)
    for trust in chain.ever_trusted(manifest.channel):
        try:
            return authenticate(raw, trust).signers
        except Refusal as refusal:
            failure = refusal
    raise failure
