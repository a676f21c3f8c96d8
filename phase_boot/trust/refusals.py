"""Every reason for which a manifest is refused: a class, a code and a sentence each."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import ClassVar, Final

_SHOWN: Final = 80
"""Characters of a foreign value that a message repeats."""


class Refusal(Exception):
    """A manifest was read and not believed; ``str`` says why and what helps, in one sentence."""

    code: ClassVar[str]
    sentence: ClassVar[str]

    def __init__(self, **facts: object) -> None:
        super().__init__(
            self.sentence.format_map({name: _shown(fact) for name, fact in facts.items()})
        )


class TooLarge(Refusal):
    """More bytes than a manifest may have."""

    code = "manifest.too-large"
    sentence = "The manifest is larger than {limit} bytes, so it is not one: try another source."


class NotJson(Refusal):
    """Not one JSON object in UTF-8."""

    code = "manifest.not-json"
    sentence = "The manifest is not a JSON object ({reason}): try another source."


class TooDeep(Refusal):
    """Nested further than any manifest needs."""

    code = "manifest.too-deep"
    sentence = "The manifest is nested more than {limit} levels deep: try another source."


class DuplicateKey(Refusal):
    """One name twice in one object, which two readers may read differently."""

    code = "manifest.duplicate-key"
    sentence = "The manifest says {name} twice in one place: the publisher must publish it again."


class NotANumber(Refusal):
    """A float, NaN, infinity or an integer beyond 2^53 - 1."""

    code = "manifest.not-an-integer"
    sentence = (
        "The manifest has the number {number}, and only whole numbers below 2^53 are allowed: "
        "the publisher must publish it again."
    )


class BadText(Refusal):
    """A string that is over-long, not NFC, or not Unicode text."""

    code = "manifest.bad-text"
    sentence = (
        "The manifest has the text {text}, which is {reason}: the publisher must publish it again."
    )


class BadField(Refusal):
    """A field that is missing, of the wrong type, or out of its bounds."""

    code = "manifest.bad-field"
    sentence = (
        "The manifest's field {field} is not usable ({reason}): "
        "the publisher must publish it again."
    )


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
)
"""All of them, in the order in which they are looked for."""


def _shown(fact: object) -> str:
    """Return a fact as short printable ASCII: it may come from an attacker and go to a console."""
    if isinstance(fact, datetime):
        return fact.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    text = str(fact).encode("ascii", "backslashreplace").decode("ascii")
    text = "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in text)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."
