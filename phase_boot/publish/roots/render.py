"""Rendering roots and drafts as text and JSON, with the changes since the root before."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from phase_boot.publish.dates import rfc3339
from phase_boot.publish.render import other_lines, row, signature_lines
from phase_boot.publish.roots.folder import Draft, RootFile, signers_of
from phase_boot.trust.root import Delegation, Root, signed_bytes
from phase_boot.trust.signatures import Trust

_KNOWN: Final = frozenset({"version", "root", "channels", "announcers"})


@dataclass(frozen=True, slots=True)
class Form:
    """Output format of listings: text, or one JSON object per line."""

    json: bool = False

    def root_file(self, found: RootFile, previous: Root | None, *, given: bool) -> Iterator[str]:
        """Yield the lines of a root."""
        if self.json:
            yield root_file_json(found, previous, given=given)
        else:
            yield from root_file_lines(found, previous, given=given)

    def draft(self, draft: Draft) -> Iterator[str]:
        """Yield the lines of a draft."""
        if self.json:
            yield draft_json(draft)
        else:
            yield from draft_lines(draft)

    def fault(self, name: str, text: str) -> Iterator[str]:
        """Yield the line of a file that cannot be rendered."""
        yield json.dumps({"file": name, "fault": text}) if self.json else f"{name} {text}"


def root_file_lines(found: RootFile, previous: Root | None, *, given: bool) -> Iterator[str]:
    """Yield the contents, signers and fault of a root of a folder."""
    if found.fault is not None:
        yield f"{found.path.name} BAD: {found.fault}"
    else:
        yield f"{found.path.name} {'is trusted as given' if given else 'follows'}"
    if found.root is not None:
        signers = signers_of(found.document, found.root, previous)
        yield from root_lines(found.document, found.root, signers)


def root_file_json(found: RootFile, previous: Root | None, *, given: bool) -> str:
    """Return the contents, signers and fault of a root of a folder as a line of JSON."""
    record: dict[str, object] = {"file": found.path.name, "kind": "root", "fault": found.fault}
    if found.root is not None:
        signers = signers_of(found.document, found.root, previous)
        record |= {"trusted_as_given": given, **_facts(found.document, found.root, signers)}
    return json.dumps(record)


def draft_json(draft: Draft) -> str:
    """Return the contents and missing signatures of a draft as a line of JSON."""
    before, own = draft.lacks
    facts = _facts(draft.document, draft.root, draft.signers)
    lacks = {"previous": before, "own": own}
    return json.dumps({"file": draft.path.name, "kind": "draft", "lacks": lacks, **facts})


def _facts(
    document: Mapping[str, object], root: Root, signers: frozenset[str]
) -> dict[str, object]:
    says = {key: value for key, value in document.items() if key != "signatures"}
    return {"digest": str(root.digest), "signers": sorted(signers), "document": says}


def draft_lines(draft: Draft) -> Iterator[str]:
    """Yield the contents of a draft, its changes, and its missing signatures."""
    yield f"{draft.path.name} is a draft, and {lack(draft)}"
    yield from root_lines(draft.document, draft.root, draft.signers)
    yield from signature_lines(draft.document, signed_bytes(draft.document))
    if draft.previous is None:
        yield "  It is the first root: every stick with it trusts these keys from then on."
        return
    yield f"  Changes since root {draft.previous.version} ({draft.previous.digest}):"
    for line in difference(draft.previous, draft.root):
        yield f"    {line}"


def lack(draft: Draft) -> str:
    """Return a phrase that counts the missing signatures of a draft."""
    before, own = draft.lacks
    if draft.previous is None:
        return f"lacks {own} signature(s) of its keys" if own else "lacks nothing"
    if not before and not own:
        return "lacks nothing"
    return (
        f"lacks {before} signature(s) of the keys of root {draft.previous.version} "
        f"and {own} of its own"
    )


def root_lines(
    document: Mapping[str, object], root: Root, signers: frozenset[str]
) -> Iterator[str]:
    """Yield the contents of a root."""
    yield from other_lines(document, _KNOWN)
    yield row("next root", f"{root.role.threshold} of {len(root.role.keys)} must sign it")
    for keyid in sorted(root.role.keys):
        yield row("", f"{keyid}{' signed' if keyid in signers else ''}")
    for keyid in sorted(signers - root.role.keys):
        yield row("", f"{keyid} signed, of the root before")
    for name, delegation in sorted(root.channels.items()):
        trust = delegation.trust
        until = rfc3339(delegation.expires)
        yield row(name, f"{trust.threshold} of {len(trust.keys)} must sign, until {until}")
        for keyid in sorted(trust.keys):
            yield row("", keyid)
    for number, keyid in enumerate(root.announcers):
        yield row("" if number else "announcing", keyid)


def difference(old: Root, new: Root) -> Iterator[str]:
    """Yield the differences between two roots."""
    yield from _keys("the root", old.role, new.role)
    for name in sorted({*old.channels, *new.channels}):
        was, now = old.channels.get(name), new.channels.get(name)
        if was is None or now is None:
            yield f"{'+' if was is None else '-'} channel {name}"
        else:
            yield from _delegations(f"channel {name}", was, now)
    yield from _announcers(old.announcers, new.announcers)


def _delegations(whose: str, old: Delegation, new: Delegation) -> Iterator[str]:
    yield from _keys(whose, old.trust, new.trust)
    if old.expires != new.expires:
        yield f"~ {whose} until {rfc3339(new.expires)}, was {rfc3339(old.expires)}"


def _announcers(old: tuple[str, ...], new: tuple[str, ...]) -> Iterator[str]:
    for keyid in new:
        if keyid not in old:
            yield f"+ announcing key {keyid}"
    for keyid in old:
        if keyid not in new:
            yield f"- announcing key {keyid}"
    if [keyid for keyid in old if keyid in new] != [keyid for keyid in new if keyid in old]:
        yield "~ announcing keys in another order"


def _keys(whose: str, old: Trust, new: Trust) -> Iterator[str]:
    for keyid in sorted(new.keys - old.keys):
        yield f"+ key of {whose} {keyid}"
    for keyid in sorted(old.keys - new.keys):
        yield f"- key of {whose} {keyid}"
    if old.threshold != new.threshold:
        yield f"~ {new.threshold} must sign for {whose}, was {old.threshold}"
