"""Drafts: manifests that are shown and signed without their artifacts, even offline."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from phase_boot.publish.errors import PublishError
from phase_boot.publish.folder_lock import locked
from phase_boot.publish.keys.signing import add_signatures, require_valid_signatures
from phase_boot.publish.render import manifest_lines
from phase_boot.safefs.atomic import PUBLIC, replace
from phase_boot.trust.keys import SigningKey
from phase_boot.trust.manifest import Manifest, signed_bytes
from phase_boot.trust.refusals import Refusal
from phase_boot.trust.strict_json import MAX_BYTES, read_document
from phase_boot.trust.verify import is_ahead


@dataclass(frozen=True, slots=True)
class Draft:
    """A manifest that may still lack signatures."""

    path: Path
    document: Mapping[str, object]
    manifest: Manifest


def read_draft(path: Path) -> Draft:
    """Parse a manifest as strictly as a machine does, without checking signatures.

    Raises:
        PublishError: machines refuse it whatever its signatures are, or it cannot be read.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
        document = read_document(raw)
        return Draft(path, document, Manifest.of(document))
    except OSError as error:
        raise PublishError(f"{path} cannot be read: {error.strerror}.") from error
    except Refusal as refusal:
        raise PublishError(f"Every machine would refuse {path}: {refusal}") from None


def show(draft: Draft, say: Callable[[str], object]) -> None:
    """Print the contents of ``draft`` line by line, for its signer.

    Raises:
        PublishError: its list of signatures is invalid.
    """
    say(f"{draft.path} says:")
    try:
        for line in manifest_lines(draft.document):
            say(line)
    except Refusal as refusal:
        raise PublishError(f"Every machine would refuse {draft.path}: {refusal}") from None


def check(draft: Draft, now: datetime, *, force: bool = False) -> frozenset[str]:
    """Return the key ids that signed ``draft``.

    Raises:
        PublishError: a signature is invalid; or, unless ``force``, machines refuse its dates now.
    """
    signers = require_valid_signatures(
        str(draft.path), draft.document, signed_bytes(draft.document)
    )
    if force:
        return signers
    if now >= draft.manifest.expires:
        raise PublishError(
            f"{draft.path} expired at {draft.manifest.expires:%Y-%m-%d %H:%M} UTC, so machines "
            "refuse it: check this machine's clock, create a new draft, or use --force."
        )
    if is_ahead(draft.manifest.issued, now):
        raise PublishError(
            f"{draft.path} was issued at {draft.manifest.issued:%Y-%m-%d %H:%M} UTC, but "
            f"this machine's clock says {now:%Y-%m-%d %H:%M}: check it, or use --force."
        )
    return signers


def sign(draft: Draft, keys: Sequence[SigningKey], out: Path) -> None:
    """Write ``draft`` with signatures by ``keys`` to ``out``, atomically.

    Raises:
        PublishError: the result is too large, the draft has changed meanwhile, or the disk fails.
    """
    raw = add_signatures(draft.document, signed_bytes(draft.document), keys)
    if len(raw) > MAX_BYTES:
        raise PublishError(f"With this signature {draft.path} would exceed {MAX_BYTES} bytes.")
    target = out.resolve()
    with locked(target.parent):
        if out == draft.path and read_draft(out).document != draft.document:
            raise PublishError(f"{out} was changed after it was shown: run the command again.")
        replace(target, raw, PUBLIC)
