"""Signatures of a document: checking those that it has, and adding more."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence

from phase_boot.publish.errors import PublishError
from phase_boot.trust.keys import SigningKey
from phase_boot.trust.signatures import MAX_KEYS, SIGNATURES, Claim, claims_of


def signature_states(document: Mapping[str, object], message: bytes) -> list[tuple[Claim, bool]]:
    """Return the signatures of a document and whether each holds.

    Raises:
        Refusal: they are no list of signatures.
    """
    return [(claim, _holds(claim, message)) for claim in claims_of(document)]


def require_valid_signatures(
    subject: str, document: Mapping[str, object], message: bytes
) -> frozenset[str]:
    """Return the key ids of the signers of a document.

    Raises:
        PublishError: a signature does not fit, so the document was changed after it was signed.
        Refusal: they are no list of signatures.
    """
    found = signature_states(document, message)
    for claim, holds in found:
        if not holds:
            raise PublishError(
                f"The signature of {ascii(claim.keyid)[1:-1]} does not fit {subject}, so it was "
                "changed after that was made: get it again from its signer."
            )
    return frozenset(claim.keyid for claim, _ in found)


def add_signatures(
    document: Mapping[str, object], message: bytes, keys: Sequence[SigningKey]
) -> bytes:
    """Return the file of ``document`` with a signature by each of ``keys`` besides those it has.

    Raises:
        PublishError: these would be too many.
        Refusal: those it has are no list of signatures.
    """
    signatures = {claim.keyid: claim.sig for claim in claims_of(document)}
    for key in keys:
        signatures[key.keyid] = base64.b64encode(key.sign(message)).decode("ascii")
    if len(signatures) > MAX_KEYS:
        raise PublishError(
            f"More than {MAX_KEYS} signatures are refused by every machine: leave some out."
        )
    entries = [{"keyid": keyid, "sig": sig} for keyid, sig in signatures.items()]
    whole = {**document, SIGNATURES: entries}
    return (json.dumps(whole, indent=2, ensure_ascii=False) + "\n").encode("utf-8")


def _holds(claim: Claim, message: bytes) -> bool:
    try:
        return claim.holds(message)
    except ValueError:
        return False
