"""Every reason to refuse an IPNS record, beside those of any document.

A record that its key signed bans no source: routers and gateways hand it over as they got it.
"""

from __future__ import annotations

from typing import Final

from phase_boot.trust.refusals import Refusal


class RecordMalformed(Refusal):
    """Not the protobuf message of a record with a signature of version 2."""

    code = "record.malformed"
    sentence = (
        "The bytes are no IPNS record with a signature of version 2 ({reason}): "
        "try another router or gateway."
    )
    ban_source = True


class RecordBadSignature(Refusal):
    """Signed by another key than that of its name, or changed after signing."""

    code = "record.bad-signature"
    sentence = (
        "The IPNS record is not what the key of {name} signed: try another router or gateway."
    )
    ban_source = True


class RecordNotCanonical(Refusal):
    """Signed data that is not canonical DAG-CBOR of numbers, bytes and texts."""

    code = "record.not-canonical"
    sentence = (
        "The data of the IPNS record is not canonical DAG-CBOR ({reason}): "
        "its signer must write it again."
    )


class RecordExpired(Refusal):
    """Its validity has passed."""

    code = "record.expired"
    sentence = (
        "The IPNS record was valid until {validity} and it is {now}: "
        "the publisher must announce again, unless this machine's clock is wrong."
    )


class RecordTooFarAhead(Refusal):
    """Its validity ends further in the future than an honest one."""

    code = "record.too-far-ahead"
    sentence = (
        "The IPNS record is valid until {validity}, more than {days} days after {now}: "
        "the publisher must announce with a shorter validity, unless this machine's clock is wrong."
    )


class RecordReplayed(Refusal):
    """Older than a record of the same name that was seen before."""

    code = "record.replayed"
    sentence = (
        "The IPNS record has sequence {sequence} and is older than one with sequence {highest} "
        "that was seen before: try another router or gateway."
    )


RECORD_REFUSALS: Final[tuple[type[Refusal], ...]] = (
    RecordMalformed,
    RecordBadSignature,
    RecordNotCanonical,
    RecordExpired,
    RecordTooFarAhead,
    RecordReplayed,
)
"""In the order of the checks."""
