"""docs/receipts.md: openssl, jq and coreutils agree with us on receipts, without our code."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest

from phase_boot.content.digest import Digest
from phase_boot.content.version import Version
from phase_boot.drill.sample_manifest import document, signed
from phase_boot.trust.manifest import signed_bytes
from phase_boot.trust.receipt import Output, sign_receipt
from tests.support.receipts import MODULE, NODE, booted, job_table, receipt
from tests.support.required_programs import needed

pytestmark = pytest.mark.interop

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = (ROOT / "docs" / "receipts.md").read_text()
SCRIPT: Final = "".join(re.findall(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))
VECTORS: Final[list[dict[str, Any]]] = [
    case
    for case in json.loads((ROOT / "tests" / "vectors" / "trust.json").read_text())["cases"]
    if case["kind"] == "receipt" and not case["wanted"]
]
GOOD: Final = sign_receipt(NODE, receipt())


def by_hand(folder: Path, raw: bytes, **given: str) -> subprocess.CompletedProcess[str]:
    """Run every command of the page in one shell."""
    for program, package in (("openssl", "openssl"), ("jq", "jq"), ("xxd", "xxd")):
        needed(program, package)
    (folder / "receipt.json").write_bytes(raw)
    return subprocess.run(
        ["sh", "-c", SCRIPT],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "TMPDIR": str(folder), **given},
        check=False,
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("case", VECTORS, ids=lambda case: case["name"])
def test_the_page_gives_each_vector_our_verdict(case: dict[str, Any], tmp_path: Path) -> None:
    raw = base64.b64decode(case["document"]) + b" " * case.get("spaces", 0)
    done = by_hand(tmp_path, raw)
    assert (done.returncode == 0) == (case["verdict"] == "ok"), done.stderr


def test_the_page_rejects_any_changed_bit(tmp_path: Path) -> None:
    for place in range(0, len(GOOD), len(GOOD) // 40):
        raw = bytearray(GOOD)
        raw[place] ^= 1 << place % 8
        assert by_hand(tmp_path, bytes(raw)).returncode != 0, place


def test_the_page_compares_the_module(tmp_path: Path) -> None:
    (tmp_path / "module").write_bytes(MODULE)
    assert by_hand(tmp_path, GOOD, module="module").returncode == 0
    (tmp_path / "module").write_bytes(MODULE + b"\0")
    assert by_hand(tmp_path, GOOD, module="module").returncode != 0


def test_the_page_compares_the_manifest_that_was_booted(tmp_path: Path) -> None:
    folder = tmp_path / "site" / "stable" / "amd64" / "manifests"
    folder.mkdir(parents=True)
    place = folder / f"{Digest.of(signed_bytes(document())).hex}.json"
    assert by_hand(tmp_path, GOOD, site="site").returncode != 0
    place.write_bytes(signed(document()))
    done = by_hand(tmp_path, GOOD, site="site")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == str(place.relative_to(tmp_path / "site"))
    lie = sign_receipt(NODE, receipt(booted=booted(version=Version.parse("9"))))
    assert by_hand(tmp_path, lie, site="site").returncode != 0
    place.write_bytes(signed(document(cmdline="quiet init=/bin/sh")))
    assert by_hand(tmp_path, GOOD, site="site").returncode != 0


def test_the_page_compares_the_job_with_the_manifest(tmp_path: Path) -> None:
    folder = tmp_path / "site" / "stable" / "amd64" / "manifests"
    folder.mkdir(parents=True)
    listed = document(jobs=[job_table()])
    digest = Digest.of(signed_bytes(listed))
    (folder / f"{digest.hex}.json").write_bytes(signed(listed))
    true = receipt(booted=booted(manifest=digest))
    done = by_hand(tmp_path, sign_receipt(NODE, true), site="site")
    assert (done.returncode, done.stderr) == (0, "")
    for lie in (
        {"job": "other"},
        {"fuel": 10_000_001},
        {"memory_bytes": 1 << 30},
        {"wall_us": 10**10},
        {"stdout": Output(Digest.of(b"x"), 1 << 20)},
    ):
        raw = sign_receipt(NODE, replace(true, **lie))
        assert by_hand(tmp_path, raw, site="site").returncode != 0, lie
