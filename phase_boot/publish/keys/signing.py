"""Signatures of a document: checking and adding them."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence

from phase_boot.publish.errors import PublishError
from phase_boot.trust.keys import SigningKey
from phase_boot.trust.signatures import MAX_KEYS, SIGNATURES, Claim, claims_of


def signature_states(document: Mapping[str, object], message: bytes) -> list[tuple[Claim, bool]]:
    """Return the signatures of a document and whether each is valid.

    Raises:
        Refusal: the list of signatures is invalid.
    """
    return [(claim, _holds(claim, message)) for claim in claims_of(document)]


def require_valid_signatures(
    subject: str, document: Mapping[str, object], message: bytes
) -> frozenset[str]:
    """Return the key ids of the signers of a document.

    Raises:
        PublishError: a signature is invalid, so the document was changed after it was signed.
        Refusal: the list of signatures is invalid.
    """
    found = signature_states(document, message)
    for claim, holds in found:
        if not holds:
            raise PublishError(
                f"The signature of {ascii(claim.keyid)[1:-1]} is invalid for {subject}, so it was "
                "changed after it was signed: get it again from its signer."
            )
    return frozenset(claim.keyid for claim, _ in found)


def add_signatures(
    document: Mapping[str, object], message: bytes, keys: Sequence[SigningKey]
) -> bytes:
    """Return the file of ``document`` with a signature by each of ``keys`` added.

    Raises:
        PublishError: the signatures would be too many.
        Refusal: its list of signatures is invalid.
    """
    signatures = {claim.keyid: claim.sig for claim in claims_of(document)}
    for key in keys:
        signatures[key.keyid] = base64.b64encode(key.sign(message)).decode("ascii")
    if len(signatures) > MAX_KEYS:
        raise PublishError(
            f"Every machine refuses more than {MAX_KEYS} signatures: leave some out."
        )
    entries = [{"keyid": keyid, "sig": sig} for keyid, sig in signatures.items()]
    whole = {**document, SIGNATURES: entries}
    return (json.dumps(whole, indent=2, ensure_ascii=False) + "\n").encode("utf-8")


def _holds(claim: Claim, message: bytes) -> bool:
    try:
        return claim.holds(message)
    except ValueError:
        return False
