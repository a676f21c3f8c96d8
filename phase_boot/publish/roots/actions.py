"""Actions of `phase-boot root`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path

from phase_boot.publish.arguments import date_of, keyid_of, open_keys, read_as
from phase_boot.publish.dates import parse_expiry
from phase_boot.publish.errors import PublishError, UsageError
from phase_boot.publish.folder_lock import locked
from phase_boot.publish.roots import signing as root_signing
from phase_boot.publish.roots.edit import (
    FIRST,
    Change,
    ChannelChange,
    KeyChange,
    RootChange,
    first_root,
    next_root,
)
from phase_boot.publish.roots.folder import (
    Draft,
    RootFile,
    draft_file,
    drafts,
    is_draft,
    newest_root,
    read_draft,
    read_roots,
    root_file,
)
from phase_boot.publish.roots.render import Form, draft_lines, lack
from phase_boot.safefs.atomic import make_folders
from phase_boot.trust.fields import parse_channel
from phase_boot.trust.root import Root


def new(options: argparse.Namespace) -> int:
    """Create root 1 of a folder, or its draft if other keys must sign it too."""
    keys = open_keys(options)
    now = date_of("--now", None)
    role = Change(
        add=[*(key.keyid for key in keys), *map(keyid_of, options.root_key)],
        threshold=options.root_threshold,
    )
    publishers = Change(add=_keyids(options.publisher), threshold=options.threshold)
    channel = ChannelChange(
        name=read_as("--channel", parse_channel, options.channel),
        keys=publishers,
        expires=_expiry(options.expires, now),
    )
    document = first_root(role, channel, _keyids(options.announcer), now)
    folder: Path = options.folder
    _make(folder)
    with root_signing.writing(folder, FIRST, force=options.force):
        _check_is_empty(folder)
        return _report(root_signing.start(folder, document, None, keys))


def rotate(options: argparse.Namespace) -> int:
    """Create the root after the newest one, or its draft if other keys must sign it too."""
    folder: Path = options.folder
    now = date_of("--now", None)
    newest = newest_root(folder)
    if newest.root is None:
        raise PublishError(f"{newest.path} cannot be read.")
    document = next_root(newest.document, _change(options, newest.root, now), now)
    keys = open_keys(options)
    with root_signing.writing(folder, newest.root.version + 1, force=options.force):
        return _report(root_signing.start(folder, document, newest.root, keys))


def sign(options: argparse.Namespace) -> int:
    """Show a draft, and sign it if a key is named."""
    path = _draft_of(options.path)
    draft = read_draft(path, options.root)
    if options.root is None and draft.previous is not None:
        _print_lines(
            [f"The oldest root in {path.parent} is trusted as given; --root names another."]
        )
    _print_lines(draft_lines(draft))
    sys.stdout.flush()
    root_signing.check(draft)
    if options.show:
        return 0
    keys = open_keys(options)
    with locked(path.parent):
        again = read_draft(path, options.root)
        if again.document != draft.document:
            raise PublishError(f"{path} was changed after it was shown: run the command again.")
        return _report(root_signing.add(again, keys))


def show(options: argparse.Namespace) -> int:
    """Print the roots of a folder; the status is 0 only if each follows from the one before."""
    path: Path = options.path
    if not path.exists():
        raise PublishError(f"{path} does not exist: name a folder of roots, or one of them.")
    form = Form(json=options.json)
    if path.is_dir():
        return _show_folder(path, options.root, form)
    if is_draft(path):
        _show_draft(path, options.root, form)
        return 0
    root_files = list(read_roots(path.parent, options.root))
    if path.name not in {found.path.name for found in root_files}:
        raise PublishError(f"{path} is not a root: roots are named <number>.json.")
    return _show_root_files(root_files, options.root, form, only=path.name)


def _show_folder(folder: Path, given: Path | None, form: Form) -> int:
    root_files = list(read_roots(folder, given))
    bad = _show_root_files(root_files, given, form)
    newest = max((int(found.path.stem) for found in root_files), default=0)
    for number, path in drafts(folder):
        if number <= newest:
            _print_lines(form.fault(path.name, f"is left over from root {number}: remove it."))
            continue
        try:
            _show_draft(path, given, form)
        except PublishError as error:
            _print_lines(form.fault(path.name, f"BAD: {error}"))
            bad = 1
    if not root_files and not drafts(folder):
        raise PublishError(f"{folder} has no root: create one with `phase-boot root new`.")
    return bad


def _show_draft(path: Path, given: Path | None, form: Form) -> None:
    draft = read_draft(path, given)
    _print_lines(form.draft(draft))
    root_signing.check(draft)


def _show_root_files(
    root_files: Sequence[RootFile], given: Path | None, form: Form, *, only: str | None = None
) -> int:
    previous: Root | None = None
    bad = 0
    for number, found in enumerate(root_files):
        if only in {None, found.path.name}:
            _print_lines(form.root_file(found, previous, given=not number and given is None))
            bad |= found.fault is not None
        previous = found.root
    return int(bad)


def _change(options: argparse.Namespace, newest: Root, now: datetime) -> RootChange:
    return RootChange(
        role=Change(
            add=_keyids(options.add_root_key),
            remove=_keyids(options.remove_root_key),
            threshold=options.root_threshold,
        ),
        channel=_channel(options, newest, now),
        removed_channels=options.remove_channel,
        announcers=KeyChange(
            add=_keyids(options.add_announcer), remove=_keyids(options.remove_announcer)
        ),
    )


def _channel(options: argparse.Namespace, newest: Root, now: datetime) -> ChannelChange | None:
    keys = Change(
        add=_keyids(options.add_publisher),
        remove=_keyids(options.remove_publisher),
        threshold=options.threshold,
    )
    expires = None if options.expires is None else _expiry(options.expires, now)
    if options.channel is None and keys == Change(add=[], remove=[]) and expires is None:
        return None
    names = [options.channel] if options.channel is not None else sorted(newest.channels)
    if len(names) > 1:
        raise UsageError(f"The root has {len(names)} channels: name one with --channel.")
    return ChannelChange(
        name=read_as("--channel", parse_channel, names[0]), keys=keys, expires=expires
    )


def _expiry(text: str, now: datetime) -> datetime:
    return read_as("--expires", lambda expires: parse_expiry(expires, now), text)


def _keyids(words: Iterable[str]) -> list[str]:
    return [keyid_of(word) for word in words]


def _make(folder: Path) -> None:
    try:
        make_folders(folder)
    except OSError as error:
        raise PublishError(f"{folder} cannot be created: {error.strerror}.") from error


def _check_is_empty(folder: Path) -> None:
    for found in read_roots(folder):
        raise PublishError(
            f"{found.path} exists, and a second first root would be refused by every stick that "
            "has it: use `phase-boot root rotate`."
        )


def _draft_of(path: Path) -> Path:
    if not path.is_dir():
        if not is_draft(path):
            raise PublishError(f"{path} is not a draft: drafts are named <number>.draft.json.")
        return path
    is_open = [draft for number, draft in drafts(path) if not root_file(path, number).exists()]
    if not is_open:
        raise PublishError(f"{path} has no draft: create one with `phase-boot root rotate`.")
    return is_open[-1]


def _report(draft: Draft) -> int:
    folder, version = draft.path.parent, draft.root.version
    if any(draft.lacks):
        _print_lines([f"{draft_file(folder, version)}: {lack(draft)}"])
    else:
        _print_lines([f"{root_file(folder, version)}: root {version}"])
    return 0


def _print_lines(lines: Iterable[str]) -> None:
    for line in lines:
        sys.stdout.write(f"{line}\n")
