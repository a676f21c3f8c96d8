"""The claims of a receipt, compared with its manifest and with earlier receipts of its node."""

from __future__ import annotations

from typing import Any

import pytest

from phase_boot.content.arch import Arch
from phase_boot.content.digest import Digest
from phase_boot.drill.sample_manifest import document
from phase_boot.trust.claims import ReceiptContradicted, check_claims, check_same_node
from phase_boot.trust.manifest import Manifest, signed_bytes
from phase_boot.trust.receipt import Outcome, Output
from tests.support.receipts import receipt

NOTHING = Output.of(b"")
NOT_RUN = {
    "outcome": Outcome.NOT_RUN,
    "exit": None,
    "reason": "its module is not here",
    "memory_bytes": 0,
    "fuel": 0,
    "stdout": NOTHING,
}


def checked(**changes: Any) -> None:
    body = document()
    check_claims(receipt(**changes), Manifest.of(body), Digest.of(signed_bytes(body)))


def test_a_job_that_did_not_run_used_nothing() -> None:
    checked(**NOT_RUN)


@pytest.mark.parametrize(
    "changes", [{"memory_bytes": 1}, {"fuel": 1}, {"stdout": Output.of(b"x")}], ids=str
)
def test_a_job_that_did_not_run_and_used_something_is_contradicted(changes: dict[str, Any]) -> None:
    with pytest.raises(ReceiptContradicted, match="memory or fuel"):
        checked(**NOT_RUN | changes)


def test_one_node_key_signs_for_one_architecture() -> None:
    check_same_node(receipt(), receipt())
    with pytest.raises(ReceiptContradicted, match="signed for arm64 before"):
        check_same_node(receipt(), receipt(arch=Arch.ARM64))
