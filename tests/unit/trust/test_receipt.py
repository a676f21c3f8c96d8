"""Receipts: one encoding, one signature, and no unsigned content."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta, timezone
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phase_boot.content.arch import Arch
from phase_boot.content.digest import Digest
from phase_boot.content.version import Version
from phase_boot.drill.sample_manifest import document as manifest_document
from phase_boot.trust.manifest import Manifest
from phase_boot.trust.manifest import signed_bytes as signed_manifest
from phase_boot.trust.receipt import (
    MAX_BYTES,
    MODES,
    Outcome,
    Output,
    check_booted,
    check_module,
    check_node,
    read_receipt,
    sign_receipt,
    signed_bytes,
)
from phase_boot.trust.refusals import (
    BadField,
    ReceiptBadSignature,
    ReceiptNotCanonical,
    ReceiptUnsigned,
    ReceiptWrongManifest,
    ReceiptWrongModule,
    ReceiptWrongNode,
    ReceiptWrongSigner,
    Refusal,
    TooDeep,
    TooLarge,
)
from phase_boot.trust.strict_json import read_document
from tests.support.receipts import NODE, OTHER_NODE, booted, job, receipt, sealed

GOOD = sign_receipt(NODE, receipt())


def table(**changes: Any) -> dict[str, object]:
    """Return the fields of a good receipt with some changed, some of them within others."""
    fields = dict(receipt().table())
    for name, value in changes.items():
        outer, _, inner = name.partition("__")
        held = fields[outer] if inner else None
        fields[outer] = {**held, inner: value} if isinstance(held, dict) else value
    return fields


def test_a_signed_receipt_is_read() -> None:
    assert read_receipt(GOOD) == receipt()
    assert read_receipt(GOOD).table() == {
        name: value for name, value in read_document(GOOD).items() if name != "signatures"
    }


@pytest.mark.parametrize(
    "changes",
    [
        {"booted": None, "mode": "none"},
        {"outcome": Outcome.OUT_OF_TIME, "exit": None, "reason": "took longer than 5000 ms"},
        {"exit": 2**32 - 1},
        {"booted": booted(pcrs=MappingProxyType({}))},
        {"booted": booted(pcrs=MappingProxyType({0: "0" * 64, 19: "1" * 64, 23: "2" * 64}))},
        {"reason": "x" * 200},
        {"runtime": f"{'a' * 32} {'1' * 32}"},
        {"arch": Arch.ARM64},
        *({"mode": mode} for mode in MODES),
        *({"outcome": outcome, "exit": None} for outcome in list(Outcome)[1:]),
    ],
)
def test_every_field_of_a_receipt_round_trips(changes: dict[str, Any]) -> None:
    wanted = receipt(**changes)
    assert read_receipt(sign_receipt(NODE, wanted)) == wanted


@pytest.mark.parametrize("zone", ["UTC", "Asia/Kathmandu"])
def test_the_time_of_a_receipt_is_in_utc_and_whole_seconds(
    zone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as there:
        there.setenv("TZ", zone)
        time.tzset()
        _check_the_time()
    time.tzset()


def _check_the_time() -> None:
    east = datetime(2025, 11, 20, 12, 30, 5, 999_999, timezone(timedelta(hours=5)))
    found = read_receipt(sign_receipt(NODE, receipt(started=east)))
    assert found.started == datetime(2025, 11, 20, 7, 30, 5, tzinfo=UTC)


def test_the_signed_bytes_are_the_context_and_the_canonical_form() -> None:
    assert signed_bytes({"b": 1, "signatures": [], "a": None}) == (
        b'phase-boot-receipt-v1\n{"a":null,"b":1}'
    )


def test_an_output_is_recorded_by_digest_and_size() -> None:
    assert Output.of(b"abc") == Output(Digest.of(b"abc"), 3)
    assert Output.of(b"abc").table() == {"sha256": Digest.of(b"abc").hex, "bytes": 3}


@given(st.integers(0, len(GOOD) - 1), st.integers(1, 255))
def test_a_receipt_with_any_byte_changed_is_refused(place: int, change: int) -> None:
    raw = bytearray(GOOD)
    raw[place] ^= change
    with pytest.raises(Refusal):
        read_receipt(bytes(raw))


@given(st.integers(0, len(GOOD)), st.binary(min_size=1, max_size=3))
def test_a_receipt_with_bytes_put_in_is_refused(place: int, more: bytes) -> None:
    with pytest.raises(Refusal):
        read_receipt(GOOD[:place] + more + GOOD[place:])


@given(st.integers(0, len(GOOD) - 1))
def test_a_receipt_that_was_cut_is_refused(length: int) -> None:
    with pytest.raises(Refusal):
        read_receipt(GOOD[:length])


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("schema", 0),
        ("schema", 2),
        ("schema", "1"),
        ("job", "hello"),
        ("job__name", "Hello"),
        ("job__sha256", "sha256:" + "0" * 64),
        ("job__more", 1),
        ("module", "0" * 64),
        ("runtime", "wasmtime"),
        ("runtime", f"{'a' * 33} 1"),
        ("runtime", "wasm\x1btime 1"),
        ("arch", "x86_64"),
        ("mode", "safe"),
        ("mode", None),
        ("booted", []),
        ("booted__version", "new"),
        ("booted__channel", "Stable"),
        ("booted__manifest", "0" * 64),
        ("booted__pcrs", None),
        ("booted__pcrs", {"24": "0" * 64}),
        ("booted__pcrs", {"04": "0" * 64}),
        ("booted__pcrs", {"4": "0" * 40}),
        ("booted__pcrs", {"4": "A" * 64}),
        ("booted__arch", "amd64"),
        ("started", "2025-11-20"),
        ("wall_us", -1),
        ("cpu_us", True),
        ("memory_bytes", "1"),
        ("fuel", None),
        ("outcome", "fine"),
        ("exit", None),
        ("exit", -1),
        ("exit", 2**32),
        ("reason", "x" * 201),
        ("reason", "\x1b[2J"),
        ("stdout", "text"),
        ("stdout__sha256", "0" * 63),
        ("stdout__bytes", -1),
        ("stderr__text", "x"),
    ],
)
def test_a_field_of_a_receipt_out_of_its_bounds_is_refused_by_name(
    field: str, value: object
) -> None:
    raw = sealed(table(**{field: value}))
    with pytest.raises(BadField, match=f"The field {field.replace('__', '.')} "):
        read_receipt(raw)


@pytest.mark.parametrize("field", sorted(receipt().table()))
def test_no_field_of_a_receipt_may_be_missing(field: str) -> None:
    body = table()
    del body[field]
    with pytest.raises(BadField, match=rf"The field {field} is not usable \(missing\)"):
        read_receipt(sealed(body))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"extra": 1}, "extra is not usable (no such field)"),
        ({"job__x": 1}, "job.x is not usable (no such field)"),
        ({"booted__x": 1}, "booted.x is not usable (no such field)"),
        ({"stdout": {}}, "stdout.bytes is not usable (missing)"),
        ({"stderr": {"bytes": 1}}, "stderr.sha256 is not usable (missing)"),
        ({"mode": "x"}, "mode is not usable (a mode is one of internet, local, private, none)"),
        (
            {"outcome": "trapped"},
            "exit is not usable (a job that did not exit has none)",
        ),
        ({"outcome": "fine"}, "outcome is not usable ('fine' is not a valid Outcome)"),
        ({"arch": "sparc"}, "arch is not usable ('sparc' is not a valid Arch)"),
        ({"stdout__bytes": -1}, "stdout.bytes is not usable (not a whole number from 0 to 90071"),
        ({"fuel": -1}, "fuel is not usable (not a whole number from 0 to 9007199254740991)"),
        ({"exit": -1}, "exit is not usable (not a whole number from 0 to 4294967295)"),
        ({"job__name": 7}, "job.name is not usable (not a text)"),
        ({"job__sha256": 7}, "job.sha256 is not usable (not a text)"),
        ({"stdout__sha256": 7}, "stdout.sha256 is not usable (not a text)"),
        ({"booted__pcrs": {"4": 7}}, "booted.pcrs is not usable (not a text)"),
    ],
)
def test_the_message_about_a_receipt_field_names_the_reason(
    changes: dict[str, object], message: str
) -> None:
    with pytest.raises(BadField) as refused:
        read_receipt(sealed(table(**changes)))
    assert str(refused.value).startswith(f"The field {message}")


def test_a_receipt_in_another_spelling_is_refused() -> None:
    with pytest.raises(ReceiptNotCanonical):
        read_receipt(json.dumps(json.loads(GOOD)).encode())
    with pytest.raises(ReceiptNotCanonical):
        read_receipt(GOOD + b"\n")


def test_a_receipt_has_exactly_one_signature() -> None:
    body = table()
    with pytest.raises(ReceiptUnsigned, match="carries 2 signatures"):
        read_receipt(sealed(body, NODE, NODE))
    for raw in (sealed({**body, "signatures": []}), GOOD):
        empty = json.loads(raw) | {"signatures": []}
        with pytest.raises(ReceiptUnsigned, match="carries 0 signatures"):
            read_receipt(json.dumps(empty, sort_keys=True, separators=(",", ":")).encode())


def test_a_receipt_is_signed_by_the_machine_that_it_names() -> None:
    with pytest.raises(ReceiptWrongSigner) as refused:
        read_receipt(sealed(table(), OTHER_NODE))
    message = f"The receipt is of {NODE.keyid} and was signed by {OTHER_NODE.keyid}: ask"
    assert str(refused.value).startswith(message)
    with pytest.raises(BadField, match="node"):
        read_receipt(sealed(table(node="me")))


def test_the_signature_of_another_kind_of_document_does_not_fit() -> None:
    manifest = json.loads(GOOD)
    for sig in ("A" * 86 + "==", "", "\u00e9"):
        manifest["signatures"][0]["sig"] = sig
        raw = json.dumps(manifest, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        with pytest.raises(ReceiptBadSignature, match="ed25519:"):
            read_receipt(raw.encode())


def test_a_signature_is_checked_before_the_fields_of_a_receipt() -> None:
    forged = json.loads(sealed(table(fuel=-1)))
    forged["reason"] = "forged"
    raw = json.dumps(forged, sort_keys=True, separators=(",", ":")).encode()
    with pytest.raises(ReceiptBadSignature):
        read_receipt(raw)


def test_a_receipt_is_bounded_in_bytes_and_depth() -> None:
    with pytest.raises(TooLarge, match="16384"):
        read_receipt(GOOD + b" " * (MAX_BYTES + 1 - len(GOOD)))
    with pytest.raises(ReceiptNotCanonical):
        read_receipt(GOOD + b" " * (MAX_BYTES - len(GOOD)))
    with pytest.raises(TooDeep, match="more than 3 levels"):
        read_receipt(sealed(table(booted={"pcrs": {"4": []}})))


def test_nothing_is_signed_that_readers_would_refuse() -> None:
    with pytest.raises(ReceiptWrongSigner):
        sign_receipt(OTHER_NODE, receipt())
    with pytest.raises(BadField, match="reason"):
        sign_receipt(NODE, receipt(reason="\n"))


def test_a_receipt_of_another_machine_or_module_is_refused() -> None:
    found = receipt()
    check_node(found, NODE.keyid)
    check_module(found, found.module)
    with pytest.raises(ReceiptWrongNode) as node:
        check_node(found, OTHER_NODE.keyid)
    message = f"The receipt is of {NODE.keyid} and not of {OTHER_NODE.keyid}: ask the other machine"
    assert str(node.value).startswith(message)
    with pytest.raises(ReceiptWrongModule) as module:
        check_module(found, job().digest)
    message = f"The receipt is of the module {found.module} and not of {job().digest}: run the job"
    assert str(module.value).startswith(message)


def test_a_receipt_fits_the_manifest_that_was_booted() -> None:
    body = manifest_document()
    check_booted(receipt(), Manifest.of(body), Digest.of(signed_manifest(body)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"booted": None}, "manifest booted is nothing, and sha256:"),
        ({"booted": booted(manifest=Digest("0" * 64))}, "manifest booted is sha256:000000"),
        ({"booted": booted(version=Version.parse("9"))}, "version booted is 9, and 2025.11.12 was"),
        ({"booted": booted(channel="beta")}, "channel booted is beta, and stable was signed"),
        ({"arch": Arch.ARM64}, "arch booted is arm64, and amd64 was signed"),
    ],
)
def test_a_receipt_that_does_not_fit_the_manifest_is_refused(
    changes: dict[str, Any], message: str
) -> None:
    body = manifest_document()
    with pytest.raises(ReceiptWrongManifest) as refused:
        check_booted(receipt(**changes), Manifest.of(body), Digest.of(signed_manifest(body)))
    assert str(refused.value).startswith(f"The receipt says that the {message}")
