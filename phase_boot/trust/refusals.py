"""Every reason to refuse a document: a class with a code and a sentence with the way out."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import ClassVar, Final

_SHOWN: Final = 80
"""Characters of a foreign value that a message repeats."""


class Refusal(Exception):
    """A document is refused; ``str`` is one sentence with the cause and the way out."""

    code: ClassVar[str]
    sentence: ClassVar[str]
    ban_source: ClassVar[bool] = False
    """Whether no honest source can have sent it, so that its source is asked for nothing more."""

    def __init__(self, **facts: object) -> None:
        super().__init__(
            self.sentence.format_map({name: _shown(fact) for name, fact in facts.items()})
        )


class TooLarge(Refusal):
    """Larger than the limit of its kind of document."""

    code = "document.too-large"
    sentence = "The document is larger than {limit} bytes, so it is not read: try another source."
    ban_source = True


class NotJson(Refusal):
    """Not one JSON object in UTF-8."""

    code = "document.not-json"
    sentence = "The document is not a JSON object ({reason}): try another source."
    ban_source = True


class TooDeep(Refusal):
    """Nested deeper than the limit."""

    code = "document.too-deep"
    sentence = "The document is nested more than {limit} levels deep: try another source."
    ban_source = True


class DuplicateKey(Refusal):
    """One name twice in one object, which two parsers may read differently."""

    code = "document.duplicate-key"
    sentence = (
        "The document has the name {name} twice in one object: its signer must write it again."
    )
    ban_source = True


class NotANumber(Refusal):
    """A float, NaN, infinity or an integer beyond 2^53 - 1."""

    code = "document.not-an-integer"
    sentence = (
        "The document has the number {number}, and only whole numbers below 2^53 are allowed: "
        "its signer must write it again."
    )
    ban_source = True


class BadText(Refusal):
    """A string that is too long, not in NFC, or not Unicode text."""

    code = "document.bad-text"
    sentence = (
        "The document has the text {text}, which is {reason}: its signer must write it again."
    )
    ban_source = True


class BadField(Refusal):
    """A field that is missing, of the wrong type, or out of its bounds."""

    code = "document.bad-field"
    sentence = "The field {field} is not usable ({reason}): its signer must write it again."


class Unsigned(Refusal):
    """No signature at all."""

    code = "signature.none"
    sentence = "The manifest has no signature: ask the publisher for a signed one."


class UntrustedSigner(Refusal):
    """Signed, but by no key that this machine trusts."""

    code = "signature.untrusted"
    sentence = (
        "None of the keys that signed the manifest is trusted here: "
        "use a stick made for this publisher, or another source."
    )


class BadSignature(Refusal):
    """A signature of a trusted key does not fit these bytes."""

    code = "signature.bad"
    sentence = (
        "The signature of {keyid} does not fit the manifest, so it was changed after signing: "
        "try another source."
    )
    ban_source = True


class ThresholdNotMet(Refusal):
    """Too few different trusted keys signed."""

    code = "signature.threshold"
    sentence = (
        "{valid} trusted key(s) signed the manifest and {threshold} are needed: "
        "ask the publisher for the missing signatures."
    )


class WrongArchitecture(Refusal):
    """For another kind of processor."""

    code = "manifest.wrong-architecture"
    sentence = "The manifest is for {found} and this machine is {wanted}: try another source."


class WrongChannel(Refusal):
    """For another channel than that of the policy."""

    code = "manifest.wrong-channel"
    sentence = (
        "The manifest is of channel {found} and the policy wants {wanted}: "
        "try another source or change the policy."
    )


class Expired(Refusal):
    """Its `expires` has passed."""

    code = "manifest.expired"
    sentence = (
        "The manifest expired at {expires} and it is {now}: "
        "the publisher must publish a new one, unless this machine's clock is wrong."
    )


class ClockDoubtful(Refusal):
    """Issued in the future of this clock, which therefore cannot tell whether it expired."""

    code = "clock.doubtful"
    sentence = (
        "The manifest was issued at {issued} and the clock says {now}, so the clock is doubtful: "
        "set this machine's clock and retry."
    )


class TooOld(Refusal):
    """Below the lowest version that the policy allows."""

    code = "manifest.too-old"
    sentence = (
        "The manifest has version {found} and the policy wants at least {wanted}: "
        "try another source, or ask the publisher for a newer one."
    )


class SeenNewer(Refusal):
    """Below the highest version that this stick has seen signed."""

    code = "manifest.rollback"
    sentence = (
        "The manifest has version {found} and this stick has already seen {seen}: "
        "try another source, or ask the publisher to publish the old one under a higher version."
    )


class RootNotBySelf(Refusal):
    """Too few of the keys that a root itself names signed it."""

    code = "root.not-by-itself"
    sentence = (
        "Root {version} carries {valid} of the {threshold} signatures of its own keys: "
        "the holders of the missing keys must run `phase-boot root sign`."
    )
    ban_source = True


class RootNotByPrevious(Refusal):
    """Too few of the keys of the root before it signed a root."""

    code = "root.not-by-previous"
    sentence = (
        "Root {version} carries {valid} of the {threshold} signatures of the root before it: "
        "try another source, or sign it with the old keys by `phase-boot root sign`."
    )
    ban_source = True


class RootOutOfOrder(Refusal):
    """Not the next version: a root was skipped, or an older one is offered."""

    code = "root.out-of-order"
    sentence = (
        "Root {found} is offered as root {wanted}, and versions may not be skipped or go back: "
        "try another source."
    )
    ban_source = True


class NoRootToFollow(Refusal):
    """No root follows fixed keys, or a chain of the largest length."""

    code = "root.not-followed"
    sentence = "This root is not followed ({reason}): use a stick that was made with a newer root."


class ChannelUnknown(Refusal):
    """The newest root has no such channel."""

    code = "root.no-such-channel"
    sentence = (
        "Root {version} names no publisher of channel {channel}: "
        "use another channel, or add it by `phase-boot root rotate`."
    )


class DelegationExpired(Refusal):
    """The delegation of the channel in the newest root has expired."""

    code = "root.expired"
    sentence = (
        "Root {version} named the publishers of {channel} until {expires} and it is {now}: "
        "a newer root is needed from a provider, unless this machine's clock is wrong."
    )


class StateMissing(Refusal):
    """A Cache that was used before has no rollback state."""

    code = "state.missing"
    sentence = (
        "This Cache holds artifacts but no record of the versions seen, so that was removed: "
        "only the lowest version of the policy counts, until the next boot."
    )


class StateUnreadable(Refusal):
    """The state is incomplete or not a valid document."""

    code = "state.unreadable"
    sentence = (
        "The record of the versions seen on this stick cannot be read ({reason}): "
        "only the lowest version of the policy counts, until the next boot."
    )


class StateForeign(Refusal):
    """The state was written under another root of trust."""

    code = "state.foreign"
    sentence = (
        "The record of the versions seen on this stick belongs to another root of trust: "
        "only the entries that the trusted publishers signed count."
    )


class StateTampered(Refusal):
    """An entry of the state has no signature of a trusted key."""

    code = "state.tampered"
    sentence = (
        "The record of the versions seen on this stick has an entry that was changed ({reason}), "
        "which does not count: check who can write to this stick."
    )


class StoredRootRefused(Refusal):
    """A root on Cache does not follow the one before it."""

    code = "state.bad-root"
    sentence = (
        "Root {version} on this stick was changed ({reason}), which does not count: "
        "check who can write to this stick."
    )


class ReceiptNotCanonical(Refusal):
    """Not in the canonical form of RFC 8785."""

    code = "receipt.not-canonical"
    sentence = "The receipt is not in canonical form (RFC 8785): ask the machine for it again."
    ban_source = True


class ReceiptUnsigned(Refusal):
    """No signature, or more than one."""

    code = "receipt.unsigned"
    sentence = (
        "The receipt carries {found} signatures and a receipt has one, by its machine: "
        "ask the machine for it again."
    )
    ban_source = True


class ReceiptWrongSigner(Refusal):
    """Signed by another key than that of the machine that it names."""

    code = "receipt.wrong-signer"
    sentence = "The receipt is of {wanted} and was signed by {found}: ask the machine for it again."
    ban_source = True


class ReceiptBadSignature(Refusal):
    """Changed after the machine signed it."""

    code = "receipt.bad-signature"
    sentence = "The receipt is not what {keyid} signed: ask the machine for it again."
    ban_source = True


class ReceiptWrongNode(Refusal):
    """Of another machine than the expected one."""

    code = "receipt.wrong-node"
    sentence = "The receipt is of {found} and not of {wanted}: ask the other machine for its own."


class ReceiptWrongModule(Refusal):
    """Of another module than the expected one."""

    code = "receipt.wrong-module"
    sentence = "The receipt is of the module {found} and not of {wanted}: run the job again."


class ReceiptWrongManifest(Refusal):
    """It claims another boot than that of the manifest."""

    code = "receipt.wrong-manifest"
    sentence = (
        "The receipt says that the {field} booted is {found}, and {wanted} was signed: "
        "boot that machine again."
    )


REFUSALS: Final[tuple[type[Refusal], ...]] = (
    TooLarge,
    NotJson,
    TooDeep,
    DuplicateKey,
    NotANumber,
    BadText,
    BadField,
    Unsigned,
    UntrustedSigner,
    BadSignature,
    ThresholdNotMet,
    WrongArchitecture,
    WrongChannel,
    Expired,
    ClockDoubtful,
    TooOld,
    SeenNewer,
    RootNotByPrevious,
    RootNotBySelf,
    RootOutOfOrder,
    NoRootToFollow,
    ChannelUnknown,
    DelegationExpired,
    StateMissing,
    StateUnreadable,
    StateForeign,
    StateTampered,
    StoredRootRefused,
    ReceiptNotCanonical,
    ReceiptUnsigned,
    ReceiptWrongSigner,
    ReceiptBadSignature,
    ReceiptWrongNode,
    ReceiptWrongModule,
    ReceiptWrongManifest,
)
"""All: of documents, of manifests in the order of the checks, of roots, the state, receipts."""


def _shown(fact: object) -> str:
    """Return a value as short printable ASCII: it may come from an attacker and go to a console."""
    if isinstance(fact, datetime):
        return fact.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    text = str(fact).encode("ascii", "backslashreplace").decode()
    text = "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in text)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."
