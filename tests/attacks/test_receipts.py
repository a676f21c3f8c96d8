"""Attacks on receipts, and on the machine that signs them by jobs that it runs."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import Any

import pytest

from phase_boot.content.arch import Arch
from phase_boot.drill.sample_manifest import document, signed
from phase_boot.plasma.engine import evaluate, run
from phase_boot.plasma.job_process import KillReason, Result
from phase_boot.plasma.node_key import ephemeral, load_or_create, signing_agent
from phase_boot.plasma.runner import Machine, run_jobs
from phase_boot.sandbox.process import NOBODY
from phase_boot.trust import manifest, root
from phase_boot.trust.receipt import Outcome, Output, read_receipt, sign_receipt, signed_bytes
from phase_boot.trust.refusals import (
    ReceiptBadSignature,
    ReceiptUnsigned,
    ReceiptWrongSigner,
    Refusal,
)
from tests.support.receipts import MODULE, NODE, OTHER_NODE, job, receipt, sealed
from tests.support.wasm_modules import doing, job_of, opening

GOOD = sign_receipt(NODE, receipt())


def forged(**changes: Any) -> bytes:
    """Return the good receipt with some fields changed and its signature kept."""
    whole = json.loads(GOOD) | changes
    return json.dumps(whole, sort_keys=True, separators=(",", ":")).encode()


def test_every_flipped_bit_is_refused_by_name() -> None:
    for place in range(len(GOOD)):
        for bit in range(8):
            raw = bytearray(GOOD)
            raw[place] ^= 1 << bit
            with pytest.raises(Refusal) as refused:
                read_receipt(bytes(raw))
            assert refused.value.code


def test_a_failed_job_is_changed_to_a_success() -> None:
    failed = json.loads(sign_receipt(NODE, receipt(outcome=Outcome.TRAPPED, exit=None, reason="x")))
    whole = failed | {"outcome": "exited", "exit": 0, "reason": ""}
    with pytest.raises(ReceiptBadSignature):
        read_receipt(json.dumps(whole, sort_keys=True, separators=(",", ":")).encode())


def test_another_machine_s_run_is_passed_off_as_one_s_own() -> None:
    with pytest.raises(ReceiptWrongSigner):
        read_receipt(forged(node=OTHER_NODE.keyid))
    entry = json.loads(GOOD)["signatures"][0] | {"keyid": OTHER_NODE.keyid}
    with pytest.raises(ReceiptBadSignature):
        read_receipt(forged(node=OTHER_NODE.keyid, signatures=[entry]))


def test_a_receipt_is_made_in_another_machine_s_name() -> None:
    with pytest.raises(ReceiptWrongSigner):
        read_receipt(sealed(receipt().table(), OTHER_NODE))
    with pytest.raises(ReceiptUnsigned):
        read_receipt(sealed(receipt().table(), OTHER_NODE, NODE))


def test_a_signature_over_another_kind_of_document_is_moved() -> None:
    body = receipt().table()
    for message in (manifest.signed_bytes(body), root.signed_bytes(body), signed_bytes(body)[22:]):
        sig = base64.b64encode(NODE.sign(message)).decode()
        with pytest.raises(ReceiptBadSignature):
            read_receipt(forged(signatures=[{"keyid": NODE.keyid, "sig": sig}]))


def test_a_node_key_is_used_to_sign_a_manifest() -> None:
    with signing_agent(ephemeral) as keeper, pytest.raises(Exception, match="refuses this message"):
        keeper.sign(manifest.signed_bytes(document()))


def test_a_manifest_is_presented_as_a_receipt() -> None:
    with pytest.raises(Refusal):
        read_receipt(signed(document()))


# ---- what is run --------------------------------------------------------------------------------
def result_of(report: bytes, **changes: Any) -> Any:
    """Return what is believed of a child that reports this."""
    return evaluate(job(), Result(report=bytearray(report), **changes))


@pytest.mark.parametrize(
    "lie",
    [
        b"",
        b"\xff" * 4096,
        b"{}\n",
        b"{}\n{}",
        b'{}\n{"outcome": "exited", "exit": 0, "reason": "", "fuel": -1, "memory": 0}',
        b'{}\n{"outcome": "exited", "exit": 0, "reason": "", "fuel": 10000001, "memory": 0}',
        b'{}\n{"outcome": "exited", "exit": 0, "reason": "", "fuel": 0, "memory": 16777217}',
        b'{}\n{"outcome": "exited", "exit": null, "reason": "", "fuel": 0, "memory": 0}',
        b'{}\n{"outcome": "exited", "exit": 4294967296, "reason": "", "fuel": 0, "memory": 0}',
        b'{}\n{"outcome": "fine", "exit": 0, "reason": "", "fuel": 0, "memory": 0}',
        b'{}\n{"outcome": "exited", "outcome": "exited", "exit": 0, "reason": "", "fuel": 0}',
        b'{}\n{"outcome": "exited", "exit": 0, "reason": [], "fuel": 0, "memory": 0}',
        b"{}\n" + b"[" * 4000,
    ],
)
def test_a_compromised_process_reports_nonsense(lie: bytes) -> None:
    believed = result_of(lie)
    assert (believed.outcome, believed.exit) == (Outcome.TRAPPED, None)
    assert believed.reason == "its process ended without a valid report"
    assert (believed.fuel, believed.memory_bytes) == (0, 0)


def test_a_compromised_process_writes_to_the_terminal_by_its_reason() -> None:
    lie = {"outcome": "trapped", "exit": None, "reason": "\x1b[2J" + "x" * 300}
    believed = result_of(b"{}\n" + json.dumps(lie | {"fuel": 1, "memory": 1}).encode())
    assert believed.reason.startswith(r"\x1b[2Jxxx")
    assert len(believed.reason) == 200
    assert believed.reason.isascii()
    why = result_of(b'{"unconfined": "\\u001b[2J"}')
    assert (why.outcome, why.reason) == (
        Outcome.NOT_RUN,
        r"it could not be confined here: \x1b[2J",
    )


def test_the_report_of_a_killed_process_is_ignored() -> None:
    well = b'{}\n{"outcome": "exited", "exit": 0, "reason": "", "fuel": 5, "memory": 6}'
    assert result_of(well).outcome is Outcome.EXITED
    for changes in ({"killed": KillReason.TIME}, {"killed": KillReason.OUTPUT}, {"signal": 11}):
        believed = result_of(well, **changes)
        assert believed.outcome is not Outcome.EXITED
        assert (believed.exit, believed.fuel, believed.memory_bytes) == (None, 0, 0)


def test_a_module_breaks_its_compiler() -> None:
    believed = result_of(b"", signal=6)
    assert believed.outcome is Outcome.UNUSABLE_MODULE
    assert believed.reason == "its compiler was ended by signal 6, as when it is out of memory"
    assert result_of(b"", signal=11).reason == "its compiler was ended by signal 11"
    assert result_of(b"{}\n", signal=11).reason == "its process was ended by signal 11"
    assert result_of(b"{}\n", signal=24).outcome is Outcome.OUT_OF_TIME


def test_a_job_writes_a_receipt_of_its_own() -> None:
    text = r"\7b\22outcome\22:\22exited\22}"
    module = doing(
        "(drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))) unreachable",
        rf'(data (i32.const 0) "\10\00\00\00\14\00\00\00\00\00\00\00\00\00\00\00{text}")',
    )
    machine = Machine(signer=NODE, arch=Arch.AMD64)
    (done,) = run_jobs([job_of(module)], lambda _: module, machine)
    assert read_receipt(done.raw).outcome is Outcome.TRAPPED
    assert done.receipt.stdout == Output.of(done.stdout)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has a key that nobody else can read")
def test_a_job_is_granted_the_folder_of_the_node_key(tmp_path: Path) -> None:
    for folder in (tmp_path, *tmp_path.parents[:-2]):
        folder.chmod(0o755)
    load_or_create(tmp_path / "node.key")
    (tmp_path / "other").write_text("x")
    grants = [{"host": str(tmp_path), "guest": "/data"}]
    for name, status in (("other", 0), ("node.key", 2)):
        module = opening(name)
        ended = run(job_of(module, grants=grants), module, {}, user=NOBODY)
        assert (ended.outcome, ended.exit) == (Outcome.EXITED, status)


def test_a_module_is_replaced_in_transit() -> None:
    machine = Machine(signer=NODE, arch=Arch.AMD64)
    (done,) = run_jobs([job()], lambda _: MODULE[:-1] + b"\1", machine)
    assert done.receipt.outcome is Outcome.UNUSABLE_MODULE
