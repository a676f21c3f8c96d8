"""Every reason not to believe a document: a class, a code and a sentence with the way out each."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import ClassVar, Final

_SHOWN: Final = 80
"""Characters of a foreign value that a message repeats."""


class Refusal(Exception):
    """Bytes were read and not believed; ``str`` says why and what helps, in one sentence."""

    code: ClassVar[str]
    sentence: ClassVar[str]
    ban_source: ClassVar[bool] = False
    """Whether whoever sent it is at fault, so that nothing else of theirs is worth asking for."""

    def __init__(self, **facts: object) -> None:
        super().__init__(
            self.sentence.format_map({name: _shown(fact) for name, fact in facts.items()})
        )


class TooLarge(Refusal):
    """More bytes than such a document may have."""

    code = "document.too-large"
    sentence = "The document is larger than {limit} bytes, so it is not read: try another source."
    ban_source = True


class NotJson(Refusal):
    """Not one JSON object in UTF-8."""

    code = "document.not-json"
    sentence = "The document is not a JSON object ({reason}): try another source."
    ban_source = True


class TooDeep(Refusal):
    """Nested further than any document needs."""

    code = "document.too-deep"
    sentence = "The document is nested more than {limit} levels deep: try another source."
    ban_source = True


class DuplicateKey(Refusal):
    """One name twice in one object, which two readers may read differently."""

    code = "document.duplicate-key"
    sentence = "The document says {name} twice in one place: whoever signed it must write it again."
    ban_source = True


class NotANumber(Refusal):
    """A float, NaN, infinity or an integer beyond 2^53 - 1."""

    code = "document.not-an-integer"
    sentence = (
        "The document has the number {number}, and only whole numbers below 2^53 are allowed: "
        "whoever signed it must write it again."
    )
    ban_source = True


class BadText(Refusal):
    """A string that is over-long, not NFC, or not Unicode text."""

    code = "document.bad-text"
    sentence = (
        "The document has the text {text}, which is {reason}: "
        "whoever signed it must write it again."
    )
    ban_source = True


class BadField(Refusal):
    """A field that is missing, of the wrong type, or out of its bounds."""

    code = "document.bad-field"
    sentence = "The field {field} is not usable ({reason}): whoever signed it must write it again."


class Unsigned(Refusal):
    """No signature at all."""

    code = "signature.none"
    sentence = "Nobody signed the manifest: ask the publisher for a signed one."


class UntrustedSigner(Refusal):
    """Signed, but by no key that this machine trusts."""

    code = "signature.untrusted"
    sentence = (
        "None of the keys that signed the manifest is trusted here: "
        "use a stick made for this publisher, or another source."
    )


class BadSignature(Refusal):
    """A trusted key is named, and its signature does not fit these bytes."""

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
    """For another channel than the policy's."""

    code = "manifest.wrong-channel"
    sentence = (
        "The manifest is of channel {found} and the policy wants {wanted}: "
        "try another source or change the policy."
    )


class Expired(Refusal):
    """Its time is over."""

    code = "manifest.expired"
    sentence = (
        "The manifest expired at {expires} and it is {now}: "
        "the publisher must publish a new one, unless this machine's clock is wrong."
    )


class ClockDoubtful(Refusal):
    """Issued later than our now, so the clock cannot judge whether it is expired."""

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
        "whoever holds the missing keys must run `phase-boot root sign`."
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
    """Not the root that follows: one was skipped, or it goes back."""

    code = "root.out-of-order"
    sentence = (
        "Root {found} stands where root {wanted} belongs, and none may be skipped or go back: "
        "try another source."
    )
    ban_source = True


class NoRootToFollow(Refusal):
    """A policy that names keys follows no root, and a chain has an end."""

    code = "root.not-followed"
    sentence = "This root is not followed ({reason}): use a stick that was made with a newer root."


class ChannelUnknown(Refusal):
    """The newest root gives the channel to nobody."""

    code = "root.no-such-channel"
    sentence = (
        "Root {version} names no publisher of channel {channel}: "
        "use another channel, or add it by `phase-boot root rotate`."
    )


class DelegationExpired(Refusal):
    """The time for which the newest root named the publishers of a channel is over."""

    code = "root.expired"
    sentence = (
        "Root {version} named the publishers of {channel} until {expires} and it is {now}: "
        "a newer root is needed from a provider, unless this machine's clock is wrong."
    )


class StateMissing(Refusal):
    """A Cache that was used before, without the state that was written with it."""

    code = "state.missing"
    sentence = (
        "This Cache holds what was fetched before but not which versions were seen, so somebody "
        "removed that: only the lowest version of the policy counts, until the next boot."
    )


class StateUnreadable(Refusal):
    """The state is torn, or was changed in a way that leaves no document."""

    code = "state.unreadable"
    sentence = (
        "What this stick wrote down about the versions seen cannot be read ({reason}): "
        "only the lowest version of the policy counts, until the next boot."
    )


class StateForeign(Refusal):
    """The state was written under a root that is none of ours."""

    code = "state.foreign"
    sentence = (
        "What this stick wrote down about the versions seen belongs to another root of trust: "
        "what our publishers did not sign of it does not count."
    )


class StateTampered(Refusal):
    """The state says that a version was seen, and nobody trusted signed that."""

    code = "state.tampered"
    sentence = (
        "This stick's list of versions seen has an entry that was changed ({reason}), "
        "which does not count: look after who can write to this stick."
    )


class StoredRootRefused(Refusal):
    """A root on Cache does not follow the one before it."""

    code = "state.bad-root"
    sentence = (
        "Root {version} as this stick kept it was changed ({reason}), which does not count: "
        "look after who can write to this stick."
    )


class ReceiptNotCanonical(Refusal):
    """The same receipt in another spelling than its one."""

    code = "receipt.not-canonical"
    sentence = "The receipt is not in its one spelling (RFC 8785): ask the machine for it again."
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
    """Signed by another key than that of the machine which it names."""

    code = "receipt.wrong-signer"
    sentence = "The receipt is of {wanted} and was signed by {found}: ask the machine for it again."
    ban_source = True


class ReceiptBadSignature(Refusal):
    """Changed after the machine signed it."""

    code = "receipt.bad-signature"
    sentence = "The receipt is not what {keyid} signed: ask the machine for it again."
    ban_source = True


class ReceiptWrongNode(Refusal):
    """Of another machine than was asked about."""

    code = "receipt.wrong-node"
    sentence = "The receipt is of {found} and not of {wanted}: ask the other machine for its own."


class ReceiptWrongModule(Refusal):
    """Of another module than was asked about."""

    code = "receipt.wrong-module"
    sentence = "The receipt is of the module {found} and not of {wanted}: run the job again."


class ReceiptWrongManifest(Refusal):
    """The machine did not boot what the publisher signed, by its own word."""

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
    """Return a fact as short printable ASCII: it may come from an attacker and go to a console."""
    if isinstance(fact, datetime):
        return fact.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    text = str(fact).encode("ascii", "backslashreplace").decode()
    text = "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in text)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."
