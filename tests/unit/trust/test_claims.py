"""The claims of a receipt, compared with its manifest and with earlier receipts of its node."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest

from phase_boot.content.arch import Arch
from phase_boot.content.digest import Digest
from phase_boot.drill.sample_manifest import document
from phase_boot.trust.claims import (
    LATE,
    OVERTIME_US,
    ReceiptContradicted,
    check_claims,
    check_same_node,
)
from phase_boot.trust.manifest import Manifest, signed_bytes
from phase_boot.trust.receipt import NO_MODE, Outcome, Output
from tests.support.receipts import booted, job_table, receipt

NOTHING = Output.of(b"")
NOT_RUN = {
    "outcome": Outcome.NOT_RUN,
    "exit": None,
    "reason": "its module is not here",
    "memory_bytes": 0,
    "fuel": 0,
    "stdout": NOTHING,
}


LIMITED = job_table()
"""The job of the sample receipt, with the limits that the manifest sets."""
HOUR = timedelta(hours=1)
EXPIRES = Manifest.of(document()).expires


def checked(known: Mapping[str, object] | None = None, /, **changes: Any) -> None:
    """Check a receipt of the sample job; the manifest lists the job ``known``, or none."""
    body = document() | ({} if known is None else {"jobs": [known]})
    manifest, digest = Manifest.of(body), Digest.of(signed_bytes(body))
    check_claims(receipt(booted=booted(manifest=digest), **changes), manifest, digest)


def contradiction(
    known: Mapping[str, object] | None = None, /, **changes: Any
) -> tuple[str, str, str]:
    """Return the field, the value and the reason for which a receipt is contradicted."""
    with pytest.raises(ReceiptContradicted) as caught:
        checked(known, **changes)
    return facts_of(caught.value)


def facts_of(refusal: ReceiptContradicted) -> tuple[str, str, str]:
    pattern = re.escape(ReceiptContradicted.sentence).replace(r"\{", "{").replace(r"\}", "}")
    found = re.fullmatch(
        pattern.format(field=r"(stdout and stderr|\w+)", found="(.*?)", reason="(.+)"), str(refusal)
    )
    assert found is not None, refusal
    return found[1], found[2], found[3]


def test_a_receipt_without_a_contradiction_is_accepted() -> None:
    checked()
    checked(LIMITED)


def test_a_job_that_did_not_run_used_nothing() -> None:
    checked(**NOT_RUN)


@pytest.mark.parametrize(
    "changes",
    [
        {"memory_bytes": 1},
        {"fuel": 1},
        {"stdout": Output.of(b"x")},
        {"stderr": Output.of(b"x")},
        {"stdout": Output.of(b"x"), "stderr": Output.of(b"x")},
    ],
    ids=str,
)
def test_a_job_that_did_not_run_and_used_something_is_contradicted(changes: dict[str, Any]) -> None:
    assert contradiction(**NOT_RUN | changes) == (
        "outcome",
        Outcome.NOT_RUN,
        "it used memory or fuel, or wrote something",
    )


def test_a_receipt_of_a_boot_names_its_mode() -> None:
    assert contradiction(mode=NO_MODE) == ("mode", NO_MODE, "it names what was booted")


def test_a_job_may_start_a_day_after_its_manifest_expired_and_not_later() -> None:
    checked(started=EXPIRES - HOUR)
    checked(started=EXPIRES + LATE)
    late = EXPIRES + LATE + timedelta(seconds=1)
    field, _, reason = contradiction(started=late)
    assert (field, reason) == ("started", "its manifest had expired and is not booted any more")


def test_a_job_that_exited_has_no_reason() -> None:
    assert contradiction(reason="fuel") == ("reason", "fuel", "a job that exited has none")


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_the_digest_of_no_output_belongs_to_no_bytes(stream: str) -> None:
    empty, other = Output.of(b""), Output.of(b"x")
    claims = contradiction(**{stream: Output(empty.digest, 1)})
    assert claims == (stream, str(empty.digest), "it has 1 bytes")
    claims = contradiction(**{stream: Output(other.digest, 0)})
    assert claims == (stream, str(other.digest), "it has 0 bytes")


def test_the_manifest_decides_the_name_and_the_module_of_its_job() -> None:
    assert contradiction(LIMITED, job="other") == (
        "job",
        "other",
        "the manifest calls it hello",
    )
    other = Digest.of(b"another module")
    field, found, reason = contradiction(LIMITED, module=other)
    assert (field, found) == ("module", str(other))
    # A message repeats the beginning of a long value only.
    named, shown = f"the manifest names {LIMITED['module']}", reason.removesuffix("...")
    assert named.startswith(shown)
    assert len(shown) > len("the manifest names sha256:")


def of_bytes(size: int) -> Output:
    return Output(Digest.of(b"x"), size)


@pytest.mark.parametrize(
    ("field", "most"),
    [
        ("wall_us", 5_000_000 + OVERTIME_US),
        ("cpu_us", 5_000_000 + OVERTIME_US),
        ("memory_bytes", 16 * 2**20),
        ("fuel", 10_000_000),
    ],
)
def test_a_job_stays_within_the_limits_of_the_manifest(field: str, most: int) -> None:
    checked(LIMITED, **{field: most})
    assert contradiction(LIMITED, **{field: most + 1}) == (
        field,
        str(most + 1),
        f"its job is limited to {most}",
    )
    # A job of the rootfs is held to the limits of every job, which are wider.
    checked(**{field: most + 1})


def test_both_streams_together_stay_within_the_limit_of_output() -> None:
    most = 16 * 1024
    checked(LIMITED, stdout=of_bytes(most - 1), stderr=of_bytes(1))
    assert contradiction(LIMITED, stdout=of_bytes(most - 1), stderr=of_bytes(2)) == (
        "stdout and stderr",
        str(most + 1),
        f"its job is limited to {most}",
    )


def test_one_node_key_signs_for_one_architecture() -> None:
    check_same_node(receipt(), receipt())
    with pytest.raises(ReceiptContradicted) as caught:
        check_same_node(receipt(), receipt(arch=Arch.ARM64))
    assert facts_of(caught.value) == ("arch", "amd64", "its node key signed for arm64 before")
