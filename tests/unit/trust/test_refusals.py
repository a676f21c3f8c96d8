"""The messages of refusals, and the page that lists them."""

from __future__ import annotations

import json
import sys
from datetime import timedelta, timezone
from pathlib import Path
from subprocess import run

import pytest

from phase_boot.cli.main import main
from phase_boot.drill.sample_manifest import NOW
from phase_boot.trust.claims import CLAIM_REFUSALS
from phase_boot.trust.record_refusals import RECORD_REFUSALS
from phase_boot.trust.refusals import REFUSALS, BadText, Expired, Refusal, WrongChannel

ROOT = Path(__file__).parents[3]
ALL = (*REFUSALS, *CLAIM_REFUSALS, *RECORD_REFUSALS)


def test_the_page_lists_the_refusals_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["refusals"]) == 0
    assert capsys.readouterr().out == (ROOT / "docs" / "refusals.md").read_text()


def test_programs_read_the_same_refusals(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["refusals", "--json"]) == 0
    listed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert listed == [
        {
            "code": refusal.code,
            "what": refusal.__doc__,
            "sentence": refusal.sentence,
            "bans": refusal.ban_source,
        }
        for refusal in ALL
    ]


def test_the_lists_contain_every_refusal() -> None:
    own = {kind for kind in Refusal.__subclasses__() if kind.__module__.startswith("phase_boot.")}
    assert set(ALL) == own
    assert len({refusal.code for refusal in ALL}) == len(ALL)


@pytest.mark.parametrize("refusal", ALL, ids=lambda refusal: refusal.code)
def test_a_refusal_is_one_sentence_with_a_way_out(refusal: type[Refusal]) -> None:
    assert refusal.sentence.endswith(".")
    assert refusal.sentence.count(". ") == 0
    assert "\n" not in refusal.sentence
    assert "|" not in f"{refusal.sentence}{refusal.__doc__}"
    assert "\n" not in (refusal.__doc__ or "\n")


def test_a_refusal_repeats_nothing_that_could_speak_to_a_terminal() -> None:
    text = str(WrongChannel(found="\x1b[2J\r\n\u202e\x7f", wanted="stable"))
    assert text.isprintable()
    assert text.isascii()
    assert r"channel \x1b[2J\x0d\x0a\u202e\x7f and" in text


@pytest.mark.parametrize(("length", "shown"), [(80, "x" * 80), (81, "x" * 77 + "...")])
def test_a_refusal_repeats_80_characters_of_a_foreign_value(length: int, shown: str) -> None:
    text = str(BadText(text="x" * length, reason="odd"))
    assert text.startswith(f"The document has the text {shown}, which is odd:")


def test_a_refusal_writes_times_as_manifests_do() -> None:
    text = str(Expired(expires=NOW, now=NOW.astimezone(timezone(timedelta(hours=5)))))
    assert text.startswith(
        "The manifest expired at 2025-11-20T00:00:00Z and it is 2025-11-20T00:00"
    )


def test_the_boot_path_never_reads_the_page() -> None:
    code = (
        "import phase_boot.app.daemon, sys; "
        "sys.exit('phase_boot.trust.refusals_page' in sys.modules)"
    )
    assert run([sys.executable, "-c", code], check=False).returncode == 0
