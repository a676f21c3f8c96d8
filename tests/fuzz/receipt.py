"""Receipts, as they come and as if the node had signed them."""

from __future__ import annotations

from phase_boot.trust.receipt import MAX_BYTES, MAX_REASON, Outcome, read_receipt
from phase_boot.trust.refusals import Refusal
from phase_boot.trust.strict_json import canonical
from tests.fuzz.signing import as_signed
from tests.fuzz.target import Target
from tests.support.receipts import NODE, OTHER_NODE, receipt, sealed


def one(data: bytes) -> None:
    _judge(data)
    _judge(as_signed(data, "signatures", sealed))


def _judge(raw: bytes) -> None:
    try:
        found = read_receipt(raw)
    except Refusal:
        return
    assert len(raw) <= MAX_BYTES
    assert found.node == NODE.keyid
    assert (found.exit is None) == (found.outcome is not Outcome.EXITED)
    assert found.reason.isascii()
    assert found.reason.isprintable()
    assert len(found.reason) <= MAX_REASON
    assert found.fuel >= 0
    # What was read, signed anew, reads the same.
    assert read_receipt(sealed(found.table())).table() == found.table()


_ENDED = receipt(outcome=Outcome.OUT_OF_FUEL, exit=None, reason="it used up all its fuel")

TARGET = Target(
    one=one,
    starts={
        "good": sealed(receipt().table()),
        "by-hand": sealed(receipt(booted=None, mode="none").table()),
        "ended": sealed(_ENDED.table()),
        "foreign": sealed(receipt().table(), OTHER_NODE),
        "two": sealed(receipt().table(), NODE, OTHER_NODE),
        "unsigned": canonical(receipt().table()),
    },
    max_len=MAX_BYTES,
    words=(
        *(b'"%s":' % name.encode() for name in (*receipt().table(), "signatures", "keyid", "sig")),
        *(b'"%s"' % str(outcome).encode() for outcome in Outcome),
        b"null",
        b"9007199254740991",
        b'"none"',
    ),
)
