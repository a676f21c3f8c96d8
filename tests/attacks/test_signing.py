"""Attacks on a signer: hostile text, changed drafts, and crashes between display and signature."""

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
from tests.support.terminal_user import TerminalUser

LASTING = {"expires": "2999-01-01T00:00:00Z"}
ESCAPES = "\x1b[2J\x1b[1;1H\x9b31m\r\n\u202e\u2066\x00\x07"


@pytest.fixture
def workdir(tmp_path: Path) -> Path:
    (tmp_path / "key").write_bytes(encode_key(PUBLISHER, None))
    (tmp_path / "key").chmod(0o600)
    return tmp_path


def sign(workdir: Path, raw: bytes) -> int:
    (workdir / "m.json").write_bytes(raw)
    return main(["sign", str(workdir / "m.json"), "--key", str(workdir / "key")])


def test_a_manifest_cannot_write_to_the_terminal_of_its_signer(
    workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    body = document(**LASTING, **{f"later{ESCAPES}": {ESCAPES: [ESCAPES]}})
    assert sign(workdir, encoded(body)) == 0
    shown = capsys.readouterr().out
    assert shown.isascii()
    assert all(char.isprintable() or char == "\n" for char in shown)
    assert "unknown     'later\\x1b[2J" in shown
    assert shown.count("\n") == len([*shown.splitlines()])
    assert "\n  signature" not in shown


def test_unknown_fields_do_not_hide_the_known_ones(
    workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    many = {f"x{number}" * 100: "y" * 500 for number in range(40)}
    assert sign(workdir, encoded(document(**LASTING, **many))) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "unknown     and 32 more fields" in lines[9]
    assert lines[10].startswith("  version")
    assert max(map(len, lines)) < 250


def test_a_forged_signers_name_cannot_either(
    workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    body = document(**LASTING)
    raw = encoded({**body, "signatures": [{"keyid": f"ed25519:{ESCAPES}", "sig": ESCAPES}]})
    assert sign(workdir, raw) == 1
    output = capsys.readouterr()
    assert (output.out + output.err).replace(str(workdir), "").isascii()
    assert "DOES NOT HOLD" in output.out
    assert "is invalid for" in output.err
    assert (workdir / "m.json").read_bytes() == raw


def test_a_draft_that_was_changed_between_two_signers_is_refused(
    workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    raw = signed(document(**LASTING), SECOND).replace(b'"quiet"', b'"quiet init=/bin/sh"')
    assert sign(workdir, raw) == 1
    output = capsys.readouterr()
    assert f"{SECOND.keyid} DOES NOT HOLD" in output.out
    assert "was changed after it was signed" in output.err
    assert (workdir / "m.json").read_bytes() == raw


def test_an_own_signature_over_other_bytes_is_not_replaced(workdir: Path) -> None:
    raw = signed(document(**LASTING), PUBLISHER).replace(b'"2025.11.12"', b'"2025.11.13"')
    assert sign(workdir, raw) == 1
    assert (workdir / "m.json").read_bytes() == raw


def test_a_signature_of_another_kind_of_document_does_not_count(workdir: Path) -> None:
    body = document(**LASTING)
    entry = {"keyid": UNTRUSTED_KEY.keyid, "sig": "AAAA"}
    assert sign(workdir, encoded({**body, "signatures": [entry]})) == 1
    assert sign(workdir, encoded({**body, "signatures": {}})) == 1
    assert sign(workdir, encoded({**body, "signatures": [entry] * 33})) == 1


def test_a_draft_that_is_swapped_while_it_is_read_is_not_signed(workdir: Path) -> None:
    sealed = encode_key(PUBLISHER, b"sesame", Cost(passes=1, memory=8192))
    (workdir / "key").write_bytes(sealed)
    (workdir / "m.json").write_bytes(encoded(document(**LASTING)))
    swapped = encoded(document(**LASTING, cmdline="init=/bin/sh"))
    with TerminalUser(["sign", f"{workdir}/m.json", "--key", f"{workdir}/key"]) as user:
        user.wait("Passphrase of")
        (workdir / "m.json").write_bytes(swapped)
        user.answer(": ", "sesame")
        assert user.leave() == 1
    assert "was changed after it was shown" in user.shown
    assert (workdir / "m.json").read_bytes() == swapped


def test_interrupting_the_passphrase_signs_nothing(workdir: Path) -> None:
    (workdir / "key").write_bytes(encode_key(PUBLISHER, b"sesame", Cost(passes=1, memory=8192)))
    raw = encoded(document(**LASTING))
    (workdir / "m.json").write_bytes(raw)
    with TerminalUser(["sign", f"{workdir}/m.json", "--key", f"{workdir}/key"]) as user:
        user.answer("Passphrase of", "\x03")
        assert user.leave() == 130
    assert "Traceback" not in user.shown
    assert (workdir / "m.json").read_bytes() == raw


def test_two_concurrent_signers_lose_no_signature(
    workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    raw = encoded(document(**LASTING))
    with locked(workdir):
        assert sign(workdir, raw) == 1
    assert "Another publisher is writing" in capsys.readouterr().err
    assert (workdir / "m.json").read_bytes() == raw


def test_a_manifest_that_a_signature_makes_too_large_is_not_signed(
    workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    body = document(**LASTING, later=["x" * 4000] * 16)
    raw = encoded(body)
    raw = encoded({**body, "more": "x" * (MAX_BYTES - len(raw) - 20)})
    assert MAX_BYTES - 20 < len(raw) <= MAX_BYTES
    assert sign(workdir, raw) == 1
    assert "would exceed" in capsys.readouterr().err
    assert (workdir / "m.json").read_bytes() == raw


def test_a_crash_before_the_rename_leaves_the_draft_that_was_there(workdir: Path) -> None:
    raw = signed(document(**LASTING), SECOND)
    (workdir / "m.json").write_bytes(raw)
    words = ["sign", str(workdir / "m.json"), "--key", str(workdir / "key")]
    done = subprocess.run(
        [sys.executable, "-c", killed_before_rename(), *words],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == -signal.SIGKILL
    assert (workdir / "m.json").read_bytes() == raw
    assert main(words) == 0
    assert len(json.loads((workdir / "m.json").read_bytes())["signatures"]) == 2
    assert sorted(path.name for path in workdir.iterdir()) == ["key", "m.json"]
