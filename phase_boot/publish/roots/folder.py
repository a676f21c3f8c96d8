"""A folder of roots: each root is checked against the one before it, as machines do."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from phase_boot.publish.errors import PublishError
from phase_boot.trust import root as rules
from phase_boot.trust.chain import Chain
from phase_boot.trust.refusals import Refusal
from phase_boot.trust.root import Root
from phase_boot.trust.signatures import claims_of, valid_signers
from phase_boot.trust.strict_json import MAX_BYTES, read_document

_ROOT: Final = re.compile(r"([1-9][0-9]{0,9})\.json")
_DRAFT: Final = re.compile(r"([1-9][0-9]{0,9})\.draft\.json")


@dataclass(frozen=True, slots=True)
class RootFile:
    """A root of the folder; ``fault`` is the reason for which machines refuse it."""

    path: Path
    document: Mapping[str, object] = field(default_factory=dict)
    root: Root | None = None
    """Its contents, if they are valid."""
    fault: str | None = None


@dataclass(frozen=True, slots=True)
class Draft:
    """A root that may lack signatures, and the root before it."""

    path: Path
    document: Mapping[str, object]
    root: Root
    previous: Root | None

    @property
    def signers(self) -> frozenset[str]:
        """Key ids of the root keys, old or new, with valid signatures."""
        return signers_of(self.document, self.root, self.previous)

    @property
    def lacks(self) -> tuple[int, int]:
        """Numbers of missing signatures: by keys of the previous root, and by its own keys."""
        before = 0
        if self.previous is not None:
            role = self.previous.role
            before = max(0, role.threshold - len(self.signers & role.keys))
        return before, max(0, self.root.role.threshold - len(self.signers & self.root.role.keys))


def read_roots(folder: Path, given: Path | None = None) -> Iterator[RootFile]:
    """Yield the roots of ``folder``, the oldest first.

    The first root is trusted as given. With ``given``, a root from another place, that one is
    trusted instead, and older roots are left out.

    Raises:
        PublishError: the folder or ``given`` cannot be read.
    """
    trusted = load_trusted(given) if given is not None else None
    newest = trusted
    broken = False
    for version, path in numbered(folder, _ROOT):
        if trusted is not None and version < trusted.version:
            continue
        found = _check_root(path, version, newest, trusted)
        if broken:
            found = RootFile(path, found.document, found.root, "the root before it is refused")
        yield found
        broken = broken or found.fault is not None
        newest = found.root


def numbered(folder: Path, shape: re.Pattern[str]) -> list[tuple[int, Path]]:
    """Return the files of ``folder`` whose names match ``shape``, by number.

    Raises:
        PublishError: it cannot be read.
    """
    try:
        found = [(shape.fullmatch(path.name), path) for path in folder.iterdir()]
    except OSError as error:
        raise PublishError(f"{folder} cannot be read: {error.strerror}.") from error
    return sorted((int(match[1]), path) for match, path in found if match)


def require_chain(root_files: Sequence[RootFile], given: Path | None = None) -> Chain:
    """Return the chain that a machine follows from the first of ``root_files``, or from ``given``.

    Raises:
        PublishError: a root is refused, or there is none.
    """
    for found in root_files:
        if found.fault is not None:
            raise PublishError(f"{found.path} is not followed: {found.fault}")
    chain = build_chain(root_files, given)
    if chain is None:
        raise PublishError("There is no root: create one with `phase-boot root new`.")
    return chain


def build_chain(root_files: Iterable[RootFile], given: Path | None = None) -> Chain | None:
    """Return the chain as `require_chain` does, for a folder in which some roots may be invalid.

    It ends before the first invalid root, as on machines; None if that is the first one.
    """
    roots = [load_trusted(given)] if given is not None else []
    for found in root_files:
        if found.fault is not None or found.root is None:
            break
        if not roots or found.root.version > roots[0].version:
            roots.append(found.root)
    return Chain(roots[0], tuple(roots[1:])) if roots else None


def newest_root(folder: Path) -> RootFile:
    """Return the newest root of a folder whose roots are all valid.

    Raises:
        PublishError: a root is invalid, there is none, or the folder cannot be read.
    """
    root_files = list(read_roots(folder))
    require_chain(root_files)
    return root_files[-1]


def drafts(folder: Path) -> list[tuple[int, Path]]:
    """Return the drafts of a folder and their versions."""
    return numbered(folder, _DRAFT)


def root_file(folder: Path, version: int) -> Path:
    """Return the path of a signed root."""
    return folder / f"{version}.json"


def draft_file(folder: Path, version: int) -> Path:
    """Return the path of a draft; providers do not serve it."""
    return folder / f"{version}.draft.json"


def is_draft(path: Path) -> bool:
    """Return whether a file has the name of a draft."""
    return _DRAFT.fullmatch(path.name) is not None


def read_draft(path: Path, given: Path | None = None) -> Draft:
    """Read a draft, and the root before it from the same folder.

    Raises:
        PublishError: every machine would refuse it, the roots before it are missing or invalid, or
            it cannot be read.
    """
    document = read(path)
    try:
        root = rules.of(document)
        claims_of(document)
    except Refusal as refusal:
        raise PublishError(f"Every machine would refuse {path}: {refusal}") from None
    if draft_file(path.parent, root.version).name != path.name:
        raise PublishError(
            f"{path} contains root {root.version}: restore its name, {root.version}.draft.json."
        )
    if root.version == 1:
        return Draft(path, document, root, None)
    before = require_chain(list(read_roots(path.parent, given)), given).newest
    if not isinstance(before, Root) or before.version != root.version - 1:
        raise PublishError(
            f"{path} must be in the folder of root {root.version - 1}, the newest one: "
            "copy the whole folder."
        )
    return Draft(path, document, root, before)


def signers_of(document: Mapping[str, object], root: Root, previous: Root | None) -> frozenset[str]:
    """Return the keys of a root, or of the one before it, that signed it."""
    keys = root.role.keys | (previous.role.keys if previous is not None else frozenset())
    return valid_signers(claims_of(document), rules.signed_bytes(document), keys)


def load_trusted(path: Path) -> Root:
    """Read a root that is trusted as given.

    Raises:
        PublishError: it is not a root, is not signed by its own keys, or cannot be read.
    """
    try:
        return rules.load_trusted(_bytes(path))
    except Refusal as refusal:
        raise PublishError(f"{path} cannot be trusted as given: {refusal}") from None


def read(path: Path) -> dict[str, object]:
    """Read a root as strictly as a machine does.

    Raises:
        PublishError: it is not a root, or cannot be read.
    """
    try:
        return read_document(_bytes(path))
    except Refusal as refusal:
        raise PublishError(f"{path} is not a valid root: {refusal}") from None


def _check_root(path: Path, version: int, newest: Root | None, trusted: Root | None) -> RootFile:
    raw = _bytes(path)
    try:
        document = read_document(raw)
        root = rules.of(document)
        claims_of(document)
    except Refusal as refusal:
        return RootFile(path, fault=str(refusal))
    if root.version != version:
        return RootFile(path, document, root, f"it contains root {root.version}")
    if trusted is not None and version == trusted.version:
        same = root.digest == trusted.digest
        return RootFile(
            path, document, root, None if same else "it is not the root that is trusted"
        )
    try:
        if newest is None:
            rules.load_trusted(raw)
        else:
            rules.verify_next(newest, raw)
    except Refusal as refusal:
        return RootFile(path, document, root, str(refusal))
    return RootFile(path, document, root)


def _bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except OSError as error:
        raise PublishError(f"{path} cannot be read: {error.strerror}.") from error
