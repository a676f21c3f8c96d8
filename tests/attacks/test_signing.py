"""Attacks on the person who signs: what is shown, what is not, and what happens in between."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from phase_boot.cli.main import main
from phase_boot.drill.sample_manifest import PUBLISHER, UNTRUSTED_KEY, document, encoded, signed
from phase_boot.publish.folder_lock import locked
from phase_boot.publish.keys.keyfile import encode_key
from phase_boot.trust.passphrase_box import Cost
from phase_boot.trust.strict_json import MAX_BYTES
from tests.support.failing_programs import killed_before_rename
from tests.support.manifests import SECOND
from tests.support.terminal_user import Typist

LASTING = {"expires": "2999-01-01T00:00:00Z"}
ESCAPES = "\x1b[2J\x1b[1;1H\x9b31m\r\n\u202e\u2066\x00\x07"


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    (tmp_path / "key").write_bytes(encode_key(PUBLISHER, None))
    (tmp_path / "key").chmod(0o600)
    return tmp_path


def sign(desk: Path, raw: bytes) -> int:
    (desk / "m.json").write_bytes(raw)
    return main(["sign", str(desk / "m.json"), "--key", str(desk / "key")])


def test_a_manifest_cannot_write_to_the_terminal_of_who_signs_it(
    desk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    body = document(**LASTING, **{f"later{ESCAPES}": {ESCAPES: [ESCAPES]}})
    assert sign(desk, encoded(body)) == 0
    shown = capsys.readouterr().out
    assert shown.isascii()
    assert all(char.isprintable() or char == "\n" for char in shown)
    assert "unknown     'later\\x1b[2J" in shown
    assert shown.count("\n") == len([*shown.splitlines()])
    assert "\n  signature" not in shown


def test_unknown_fields_cannot_push_the_known_ones_out_of_sight(
    desk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    many = {f"x{number}" * 100: "y" * 500 for number in range(40)}
    assert sign(desk, encoded(document(**LASTING, **many))) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "unknown     and 32 more fields" in lines[9]
    assert lines[10].startswith("  version")
    assert max(map(len, lines)) < 250


def test_a_forged_signers_name_cannot_either(
    desk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    body = document(**LASTING)
    raw = encoded({**body, "signatures": [{"keyid": f"ed25519:{ESCAPES}", "sig": ESCAPES}]})
    assert sign(desk, raw) == 1
    told = capsys.readouterr()
    assert (told.out + told.err).replace(str(desk), "").isascii()
    assert "DOES NOT HOLD" in told.out
    assert "is invalid for" in told.err
    assert (desk / "m.json").read_bytes() == raw


def test_a_draft_that_was_changed_between_two_signers_is_refused(
    desk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    raw = signed(document(**LASTING), SECOND).replace(b'"quiet"', b'"quiet init=/bin/sh"')
    assert sign(desk, raw) == 1
    told = capsys.readouterr()
    assert f"{SECOND.keyid} DOES NOT HOLD" in told.out
    assert "was changed after it was signed" in told.err
    assert (desk / "m.json").read_bytes() == raw


def test_an_own_signature_over_other_bytes_is_not_replaced(desk: Path) -> None:
    raw = signed(document(**LASTING), PUBLISHER).replace(b'"2025.11.12"', b'"2025.11.13"')
    assert sign(desk, raw) == 1
    assert (desk / "m.json").read_bytes() == raw


def test_a_signature_of_another_kind_of_document_does_not_count(desk: Path) -> None:
    body = document(**LASTING)
    entry = {"keyid": UNTRUSTED_KEY.keyid, "sig": "AAAA"}
    assert sign(desk, encoded({**body, "signatures": [entry]})) == 1
    assert sign(desk, encoded({**body, "signatures": {}})) == 1
    assert sign(desk, encoded({**body, "signatures": [entry] * 33})) == 1


def test_a_draft_that_is_swapped_while_it_is_read_is_not_signed(desk: Path) -> None:
    sealed = encode_key(PUBLISHER, b"sesame", Cost(passes=1, memory=8192))
    (desk / "key").write_bytes(sealed)
    (desk / "m.json").write_bytes(encoded(document(**LASTING)))
    swapped = encoded(document(**LASTING, cmdline="init=/bin/sh"))
    with Typist(["sign", f"{desk}/m.json", "--key", f"{desk}/key"]) as typist:
        typist.wait("Passphrase of")
        (desk / "m.json").write_bytes(swapped)
        typist.answer(": ", "sesame")
        assert typist.leave() == 1
    assert "was changed after it was shown" in typist.shown
    assert (desk / "m.json").read_bytes() == swapped


def test_interrupting_the_passphrase_signs_nothing(desk: Path) -> None:
    (desk / "key").write_bytes(encode_key(PUBLISHER, b"sesame", Cost(passes=1, memory=8192)))
    raw = encoded(document(**LASTING))
    (desk / "m.json").write_bytes(raw)
    with Typist(["sign", f"{desk}/m.json", "--key", f"{desk}/key"]) as typist:
        typist.answer("Passphrase of", "\x03")
        assert typist.leave() == 130
    assert "Traceback" not in typist.shown
    assert (desk / "m.json").read_bytes() == raw


def test_two_who_sign_at_once_do_not_lose_a_signature(
    desk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    raw = encoded(document(**LASTING))
    with locked(desk):
        assert sign(desk, raw) == 1
    assert "Another publisher is writing" in capsys.readouterr().err
    assert (desk / "m.json").read_bytes() == raw


def test_a_manifest_that_a_signature_makes_too_large_is_not_signed(
    desk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    body = document(**LASTING, later=["x" * 4000] * 16)
    raw = encoded(body)
    raw = encoded({**body, "more": "x" * (MAX_BYTES - len(raw) - 20)})
    assert MAX_BYTES - 20 < len(raw) <= MAX_BYTES
    assert sign(desk, raw) == 1
    assert "would exceed" in capsys.readouterr().err
    assert (desk / "m.json").read_bytes() == raw


def test_a_crash_before_the_rename_leaves_the_draft_that_was_there(desk: Path) -> None:
    raw = signed(document(**LASTING), SECOND)
    (desk / "m.json").write_bytes(raw)
    words = ["sign", str(desk / "m.json"), "--key", str(desk / "key")]
    done = subprocess.run(
        [sys.executable, "-c", killed_before_rename(), *words],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == -signal.SIGKILL
    assert (desk / "m.json").read_bytes() == raw
    assert main(words) == 0
    assert len(json.loads((desk / "m.json").read_bytes())["signatures"]) == 2
    assert sorted(path.name for path in desk.iterdir()) == ["key", "m.json"]
