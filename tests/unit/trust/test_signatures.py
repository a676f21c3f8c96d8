from __future__ import annotations

import base64

import pytest

from phase_boot.drill.sample_manifest import PUBLISHER, UNTRUSTED_KEY
from phase_boot.trust.refusals import BadField
from phase_boot.trust.signatures import (
    MAX_KEYS,
    Claim,
    Trust,
    claims_of,
    signed_form,
    valid_signers,
)
from tests.support.manifests import SECOND

MESSAGE = b"message"
BOTH = frozenset({PUBLISHER.keyid, SECOND.keyid})


def claim(key: object = PUBLISHER, message: bytes = MESSAGE) -> Claim:
    assert isinstance(key, type(PUBLISHER))
    return Claim(key.keyid, base64.b64encode(key.sign(message)).decode())


def test_all_but_the_signatures_is_signed_behind_its_context() -> None:
    document = {"b": 1, "signatures": [7], "a": {"signatures": 2}}
    assert signed_form(document, b"context\n") == b'context\n{"a":{"signatures":2},"b":1}'
    assert document["signatures"] == [7]


def test_the_signers_are_those_of_the_trusted_keys_whose_signatures_hold() -> None:
    claims = (claim(UNTRUSTED_KEY), claim(SECOND, b"massage"), claim(), claim())
    assert valid_signers(claims, MESSAGE, BOTH) == {PUBLISHER.keyid}
    assert valid_signers((claim(SECOND), claim()), MESSAGE, BOTH) == BOTH
    assert valid_signers((), MESSAGE, BOTH) == frozenset()


def test_untrusted_keys_cost_no_signature_check() -> None:
    """A key id that is none would raise: it is not even looked at."""
    assert valid_signers((Claim("nobody", "sig"),), MESSAGE, BOTH) == frozenset()
    with pytest.raises(ValueError, match="key id"):
        Claim("nobody", claim().sig).holds(MESSAGE)


def test_a_bad_claim_hides_no_good_one_of_the_same_key() -> None:
    bad = Claim(PUBLISHER.keyid, claim(SECOND).sig)
    assert valid_signers((bad, claim(), bad), MESSAGE, BOTH) == {PUBLISHER.keyid}


@pytest.mark.parametrize("sig", ["", "=", "AAA=", "\u00e9" * 88, "A" * 87, "%" * 88, "A" * 88])
def test_an_invalid_signature_does_not_hold(sig: str) -> None:
    assert not Claim(PUBLISHER.keyid, sig).holds(MESSAGE)


def test_a_document_without_signatures_makes_no_claim() -> None:
    assert claims_of({}) == ()
    assert claims_of({"signatures": []}) == ()


def test_claims_are_read_in_their_order_up_to_their_number() -> None:
    entries = [{"keyid": str(n), "sig": f"s{n}", "more": 1} for n in range(MAX_KEYS)]
    claims = claims_of({"signatures": entries})
    assert claims[:2] == (Claim("0", "s0"), Claim("1", "s1"))
    assert len(claims) == MAX_KEYS == 32
    with pytest.raises(BadField, match=r"signatures is not usable .not a list of at most 32"):
        claims_of({"signatures": [*entries, entries[0]]})


@pytest.mark.parametrize(
    "entry", [7, None, [], {"keyid": "k"}, {"sig": "s"}, {"keyid": 1, "sig": "s"}]
)
def test_an_entry_of_another_shape_is_refused(entry: object) -> None:
    with pytest.raises(BadField, match=r"signatures is not usable .an entry is not a keyid and a"):
        claims_of({"signatures": [entry]})


def test_a_threshold_is_from_one_to_all_of_the_keys() -> None:
    assert Trust(BOTH, 1).threshold == 1
    assert Trust(BOTH, 2).threshold == 2
    for threshold in (-1, 0, 3):
        with pytest.raises(
            ValueError, match=f"^the threshold is {threshold} and must be from 1 to the 2 keys$"
        ):
            Trust(BOTH, threshold)
    with pytest.raises(ValueError, match=r"^trust needs at least one key: an empty list would"):
        Trust(frozenset(), 1)
    with pytest.raises(ValueError, match=r"^a key id is ed25519: and the 64 lower-case hex digits"):
        Trust(frozenset({PUBLISHER.keyid, "key"}), 1)
