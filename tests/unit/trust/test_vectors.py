"""The vectors of tests/vectors/trust.json, checked by the code of the stick."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import pytest

from phase_boot.content.arch import Arch
from phase_boot.content.digest import Digest
from phase_boot.content.version import Version
from phase_boot.trust.chain import Chain
from phase_boot.trust.claims import CLAIM_REFUSALS, check_claims
from phase_boot.trust.fields import parse_date
from phase_boot.trust.ipns_name import IpnsName
from phase_boot.trust.ipns_record import check_not_replayed, verify_record
from phase_boot.trust.job import read_job
from phase_boot.trust.manifest import Manifest, signed_bytes
from phase_boot.trust.receipt import check_module, check_node, read_receipt
from phase_boot.trust.record_refusals import RECORD_REFUSALS
from phase_boot.trust.refusals import REFUSALS, Refusal, StateMissing, StoredRootRefused
from phase_boot.trust.rollback import read_state
from phase_boot.trust.root import load_trusted
from phase_boot.trust.signatures import Trust
from phase_boot.trust.strict_json import read_document
from phase_boot.trust.verify import BootRequirements, verify

ROOT: Final = Path(__file__).parents[3]
FILE: Final = ROOT / "tests" / "vectors" / "trust.json"
CASES: Final[list[dict[str, Any]]] = json.loads(FILE.read_text())["cases"]
NOT_FROM_BYTES: Final = {
    StateMissing.code,  # there are no bytes
    StoredRootRefused.code,  # says which of the root's own refusals it was
}

Case = Mapping[str, Any]


def bytes_of(case: Case) -> bytes:
    spaces: int = case.get("spaces", 0)
    return base64.b64decode(case["document"]) + b" " * spaces


def trusted(case: Case) -> Chain:
    trusted = case["trusted"]
    if "keys" in trusted:
        return Chain(Trust(frozenset(trusted["keys"]), trusted["threshold"]))
    first, *later = map(base64.b64decode, trusted["roots"])
    chain = Chain(load_trusted(first))
    for raw in later:
        chain = chain.extended(raw)
    return chain


def judge_manifest(case: Case) -> None:
    wanted, now = case["wanted"], parse_date(case["now"])
    requirements = BootRequirements(
        arch=Arch.parse(wanted["arch"]),
        channel=wanted["channel"],
        min_version=Version.parse(wanted["min_version"]),
        floor=None if wanted["seen"] is None else Version.parse(wanted["seen"]),
    )
    trust = trusted(case).trust(requirements.channel, now)
    assert verify(bytes_of(case), trust=trust, requirements=requirements, now=now).raw == bytes_of(
        case
    )


def judge_root(case: Case) -> None:
    if case["trusted"]:
        trusted(case).extended(bytes_of(case))
    else:
        load_trusted(bytes_of(case))


def judge_chain(case: Case) -> None:
    chain = trusted(case)
    for text in case["documents"]:
        chain = chain.extended(base64.b64decode(text))
    assert len(chain.later) == len(case["documents"])


def judge_state(case: Case) -> None:
    seen, doubts = read_state(bytes_of(case), trusted(case))
    floor = seen.floor(case["wanted"]["channel"], Arch.parse(case["wanted"]["arch"]))
    assert (None if floor is None else str(floor)) == case["floor"]
    for doubt in doubts:
        raise doubt


def judge_job(case: Case) -> None:
    assert read_job(bytes_of(case)).digest == Digest.parse(case["wanted"]["digest"])


def judge_receipt(case: Case) -> None:
    receipt, wanted = read_receipt(bytes_of(case)), case["wanted"]
    if "node" in wanted:
        check_node(receipt, wanted["node"])
    if "module" in wanted:
        check_module(receipt, Digest.parse(wanted["module"]))
    if "manifest" in wanted:
        document = read_document(base64.b64decode(wanted["manifest"]))
        check_claims(receipt, Manifest.of(document), Digest.of(signed_bytes(document)))


def judge_record(case: Case) -> None:
    wanted, now = case["wanted"], parse_date(case["now"])
    name = IpnsName.parse(wanted["name"])
    record = verify_record(bytes_of(case), name, now)
    if "newest" in wanted:
        newest = verify_record(base64.b64decode(wanted["newest"]), name, now)
        check_not_replayed(record, newest)
    assert record.sequence == wanted["sequence"]
    places = record.announcement.places.items()
    assert wanted["places"] == {
        f"{c}/{arch}": str(place.manifest_cid) for (c, arch), place in places
    }


JUDGES: Final[Mapping[str, Callable[[Case], None]]] = {
    "manifest": judge_manifest,
    "root": judge_root,
    "roots-chain": judge_chain,
    "state": judge_state,
    "job": judge_job,
    "receipt": judge_receipt,
    "record": judge_record,
}


def verdict(case: Case) -> str:
    try:
        JUDGES[case["kind"]](case)
    except Refusal as refusal:
        return refusal.code
    return "ok"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_a_vector_gets_its_verdict(case: Case) -> None:
    assert verdict(case) == case["verdict"]


def test_every_refusal_that_comes_from_bytes_has_a_vector() -> None:
    codes = {refusal.code for refusal in (*REFUSALS, *CLAIM_REFUSALS, *RECORD_REFUSALS)}
    assert {case["verdict"] for case in CASES} == codes - NOT_FROM_BYTES | {"ok"}


def test_each_vector_has_a_name_of_its_own() -> None:
    assert len({case["name"] for case in CASES}) == len(CASES)


def test_the_vectors_are_regenerated_byte_for_byte(tmp_path: Path) -> None:
    made = tmp_path / "trust.json"
    command = [sys.executable, "-m", "tests.vectors.regenerate", str(made)]
    subprocess.run(command, cwd=ROOT, check=True)
    assert made.read_bytes() == FILE.read_bytes()
