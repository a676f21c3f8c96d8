"""Signing a root: it is a draft until enough keys have signed it, then atomically a root."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from phase_boot.publish.errors import PublishError
from phase_boot.publish.folder_lock import locked
from phase_boot.publish.keys.signing import add_signatures, require_valid_signatures
from phase_boot.publish.roots.folder import Draft, draft_file, drafts, root_file
from phase_boot.safefs.atomic import PUBLIC, move, replace
from phase_boot.trust import root as rules
from phase_boot.trust.keys import SigningKey
from phase_boot.trust.refusals import Refusal
from phase_boot.trust.root import Root
from phase_boot.trust.strict_json import MAX_BYTES, read_document


@contextmanager
def writing(folder: Path, version: int, *, force: bool) -> Iterator[None]:
    """Lock a folder to create root ``version`` in it.

    Raises:
        PublishError: the root exists, a draft is open (unless ``force``), or the disk fails.
    """
    with locked(folder):
        if root_file(folder, version).exists():
            raise PublishError(
                f"{root_file(folder, version)} exists, and a root is never overwritten: "
                "machines may follow it already."
            )
        # The draft of a complete root, which a crash may have left, is not open.
        is_open = [path for number, path in drafts(folder) if number >= version]
        if is_open and not force:
            raise PublishError(
                f"{is_open[0]} is open: sign it with `phase-boot root sign`, or discard it with "
                "--force."
            )
        yield


def start(
    folder: Path, document: Mapping[str, object], previous: Root | None, keys: Sequence[SigningKey]
) -> Draft:
    """Write ``document`` as a draft, sign it, and make it a root if it has enough signatures.

    Raises:
        PublishError: a key is not a root key, every machine would refuse it, or the disk fails.
    """
    try:
        root = rules.of(document)
    except Refusal as refusal:
        raise PublishError(f"Every machine would refuse this root: {refusal}") from None
    return add(Draft(draft_file(folder, root.version), document, root, previous), keys)


def add(draft: Draft, keys: Sequence[SigningKey]) -> Draft:
    """Sign ``draft`` with ``keys``, and make it a root if it has enough signatures.

    Raises:
        PublishError: a key is not a root key, an existing signature is invalid, every machine would
            refuse the root, or the disk fails.
    """
    check(draft)
    for key in keys:
        _check_has_a_say(draft, key)
    raw = add_signatures(draft.document, rules.signed_bytes(draft.document), keys)
    if len(raw) > MAX_BYTES:
        raise PublishError(
            f"Every machine refuses a root of more than {MAX_BYTES} bytes: shorten it."
        )
    ready = Draft(draft.path, read_document(raw), draft.root, draft.previous)
    replace(draft.path, raw, PUBLIC)
    if not any(ready.lacks):
        _complete(ready, raw)
    return ready


def check(draft: Draft) -> None:
    """Refuse a draft that was changed after it was signed.

    Raises:
        PublishError: a signature is invalid.
    """
    require_valid_signatures(str(draft.path), draft.document, rules.signed_bytes(draft.document))


def _check_has_a_say(draft: Draft, key: SigningKey) -> None:
    before = draft.previous.role.keys if draft.previous is not None else frozenset()
    if key.keyid not in before | draft.root.role.keys:
        raise PublishError(
            f"{key.keyid} is not a root key of {draft.path.name} or of the root before it, so its "
            "signature would count for nothing: name a root key."
        )


def _complete(draft: Draft, raw: bytes) -> None:
    target = root_file(draft.path.parent, draft.root.version)
    try:
        if draft.previous is None:
            rules.load_trusted(raw)
        else:
            rules.verify_next(draft.previous, raw)
    except Refusal as refusal:
        raise PublishError(f"Every machine would refuse {draft.path}: {refusal}") from None
    if target.exists():
        raise PublishError(f"{target} exists, and a root is never overwritten.")
    move(draft.path, target)
