"""Attacks on those who sign roots: forged chains, changed drafts, a crash at the last moment."""

from __future__ import annotations

import base64
import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from phase_boot.cli.main import main
from phase_boot.drill.sample_manifest import PUBLISHER, UNTRUSTED_KEY
from phase_boot.publish.keys.keyfile import encode_key
from phase_boot.trust.keys import SigningKey
from phase_boot.trust.passphrase_box import Cost
from phase_boot.trust.root import load_trusted, signed_bytes, verify_next
from phase_boot.trust.strict_json import MAX_BYTES
from tests.support.failing_programs import FULL_DISK, killed_before_rename
from tests.support.manifests import SECOND
from tests.support.terminal_user import Typist

A, B = (SigningKey(bytes([number]) * 32) for number in (10, 11))


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    """Return a folder with root 1, which two keys must follow, and a draft that one has signed."""
    for name, key in (("a", A), ("b", B), ("stranger", UNTRUSTED_KEY)):
        (tmp_path / name).write_bytes(encode_key(key, None))
        (tmp_path / name).chmod(0o600)
    keys = ["--key", f"{tmp_path}/a", "--key", f"{tmp_path}/b"]
    stable = ["--channel", "stable", "--publisher", PUBLISHER.keyid, "--expires", "+365d"]
    assert main(["root", "new", f"{tmp_path}/root", *keys, "--root-threshold", "2", *stable]) == 0
    change = ["--add-publisher", SECOND.keyid, "--key", f"{tmp_path}/a"]
    assert main(["root", "rotate", f"{tmp_path}/root", *change]) == 0
    return tmp_path


def draft(desk: Path) -> Path:
    return desk / "root" / "2.draft.json"


def sign(desk: Path, *more: str) -> int:
    return main(["root", "sign", f"{desk}/root", "--key", f"{desk}/b", *more])


def signed(body: dict[str, object], *keys: SigningKey) -> str:
    sigs = [base64.b64encode(key.sign(signed_bytes(body))).decode() for key in keys]
    entries = [{"keyid": key.keyid, "sig": sig} for key, sig in zip(keys, sigs, strict=True)]
    return json.dumps({**body, "signatures": entries})


def body_of(path: Path) -> dict[str, object]:
    found = json.loads(path.read_bytes())
    return {name: value for name, value in found.items() if name != "signatures"}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (SECOND.keyid, UNTRUSTED_KEY.keyid),
        (A.keyid, UNTRUSTED_KEY.keyid),
        ('"threshold": 2', '"threshold": 1'),
        ('"version": 2', '"version": 2, "later": 1'),
    ],
)
def test_a_draft_that_was_changed_between_two_signers_is_refused(
    desk: Path, old: str, new: str, capsys: pytest.CaptureFixture[str]
) -> None:
    changed = draft(desk).read_text().replace(old, new)
    draft(desk).write_text(changed)
    assert sign(desk) == 1
    assert "is invalid for" in capsys.readouterr().err
    assert draft(desk).read_text() == changed
    assert not (desk / "root" / "2.json").exists()


def test_a_draft_that_is_swapped_while_it_is_read_is_not_signed(desk: Path) -> None:
    (desk / "b").write_bytes(encode_key(B, b"sesame", Cost(passes=1, memory=8192)))
    body = body_of(draft(desk))
    swapped = signed({**body, "later": 1}, A)
    with Typist(["root", "sign", f"{desk}/root", "--key", f"{desk}/b"]) as typist:
        typist.wait("Passphrase of")
        draft(desk).write_text(swapped)
        typist.answer(": ", "sesame")
        assert typist.leave() == 1
    assert "was changed after it was shown" in typist.shown
    assert draft(desk).read_text() == swapped
    assert not (desk / "root" / "2.json").exists()


def test_a_draft_under_another_number_is_refused(
    desk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    draft(desk).rename(desk / "root" / "3.draft.json")
    assert sign(desk) == 1
    assert "contains root 2" in capsys.readouterr().err


def test_a_draft_that_skips_a_root_is_refused(
    desk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    third = desk / "root" / "3.draft.json"
    draft(desk).rename(third)
    third.write_text(signed({**body_of(third), "version": 3}, A))
    before = third.read_text()
    assert sign(desk) == 1
    assert "must be in the folder of root 2" in capsys.readouterr().err
    assert third.read_text() == before


def test_a_draft_without_the_roots_before_it_is_refused(
    desk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (desk / "root" / "1.json").unlink()
    assert sign(desk) == 1
    assert "There is no root" in capsys.readouterr().err
    assert draft(desk).exists()


def test_a_swapped_chain_is_detected_with_a_given_root(
    desk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (desk / "mine.json").write_bytes((desk / "root" / "1.json").read_bytes())
    forged = body_of(desk / "root" / "1.json")
    forged["root"] = {"keys": sorted([B.keyid, UNTRUSTED_KEY.keyid]), "threshold": 1}
    (desk / "root" / "1.json").write_text(signed(forged, UNTRUSTED_KEY))
    draft(desk).write_text(signed({**forged, "version": 2}, UNTRUSTED_KEY))
    assert sign(desk, "--root", f"{desk}/mine.json") == 1
    assert "it is not the root that is trusted" in capsys.readouterr().err
    assert not (desk / "root" / "2.json").exists()


def test_a_root_cannot_write_to_the_terminal(
    desk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    body = {**body_of(draft(desk)), "\x1b[2J": ["\x9b31m\r\u202e"]}
    draft(desk).write_text(signed(body, A))
    assert sign(desk) == 0
    shown = capsys.readouterr().out.replace(str(desk), "")
    assert shown.isascii()
    assert all(char.isprintable() or char == "\n" for char in shown)


def test_a_signature_by_a_key_without_a_say_completes_nothing(desk: Path) -> None:
    path = str(draft(desk))
    before = draft(desk).read_bytes()
    assert main(["root", "sign", path, "--key", f"{desk}/stranger"]) == 1
    assert main(["root", "sign", path, "--key", f"{desk}/a"]) == 0
    assert draft(desk).read_bytes() == before
    assert not (desk / "root" / "2.json").exists()


def run(desk: Path, program: str) -> subprocess.CompletedProcess[bytes]:
    words = ("root", "sign", f"{desk}/root", "--key", f"{desk}/b")
    return subprocess.run(
        [sys.executable, "-c", program, *words],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize("number", [1, 2])
def test_a_crash_while_a_root_is_completed_leaves_a_draft(desk: Path, number: int) -> None:
    before = draft(desk).read_bytes()
    assert run(desk, killed_before_rename(number)).returncode == -signal.SIGKILL
    assert not (desk / "root" / "2.json").exists()
    assert (draft(desk).read_bytes() == before) is (number == 1)
    assert sign(desk) == 0
    first = load_trusted((desk / "root" / "1.json").read_bytes())
    assert verify_next(first, (desk / "root" / "2.json").read_bytes()).version == 2
    assert sorted(path.name for path in (desk / "root").iterdir()) == ["1.json", "2.json"]


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (lambda raw: raw.replace(PUBLISHER.keyid.encode(), UNTRUSTED_KEY.keyid.encode()), "1 BAD"),
        (lambda _: b"{", "1 BAD"),
        (lambda _: b"x" * 70000, "1 BAD"),
    ],
)
def test_a_bad_link_is_named_and_what_comes_after_it_too(
    desk: Path, damage: object, why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert callable(damage)
    assert sign(desk) == 0
    path = desk / "root" / "1.json"
    path.write_bytes(damage(path.read_bytes()))
    capsys.readouterr()
    assert main(["root", "show", f"{desk}/root"]) == 1
    shown = capsys.readouterr().out
    assert f"{why[0]}.json BAD" in shown
    assert "2.json BAD: the root before it is refused" in shown
    assert main(["root", "rotate", f"{desk}/root", "--expires", "+9d"]) == 1


@pytest.mark.parametrize(
    "damage",
    [
        lambda raw: b"{" + raw,
        lambda raw: raw.replace(b'"threshold": 2', b'"threshold": 3'),
        lambda raw: raw.replace(b'"version": 2', b'"version": 4'),
        lambda raw: raw.replace(b'"sig"', b'"Sig"'),
        lambda raw: raw.replace(SECOND.keyid.encode(), UNTRUSTED_KEY.keyid.encode()),
        lambda raw: raw + b" " * 70000,
    ],
)
def test_a_bad_draft_is_named(
    desk: Path, damage: object, capsys: pytest.CaptureFixture[str]
) -> None:
    assert callable(damage)
    draft(desk).write_bytes(damage(draft(desk).read_bytes()))
    capsys.readouterr()
    assert main(["root", "show", f"{desk}/root"]) == 1
    told = capsys.readouterr()
    assert ("2.draft.json BAD" in told.out, told.err) == (True, "")
    assert main(["root", "show", str(draft(desk))]) == 1
    assert sign(desk) == 1
    assert not (desk / "root" / "2.json").exists()


def test_a_second_first_root_is_never_made(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = desk / "root" / "1.json"
    before = first.read_bytes()
    other = signed({**body_of(first), "later": 1}, A)
    (desk / "root" / "1.draft.json").write_text(other)
    assert main(["root", "sign", f"{desk}/root/1.draft.json", "--key", f"{desk}/b"]) == 1
    assert "a root is never overwritten" in capsys.readouterr().err
    assert first.read_bytes() == before
    first.rename(desk / "root" / "4.json")
    stable = ["--channel", "stable", "--publisher", PUBLISHER.keyid, "--expires", "+365d"]
    words = ["root", "new", f"{desk}/root", "--key", f"{desk}/a", *stable, "--force"]
    assert main(words) == 1
    assert "use `phase-boot root rotate`" in capsys.readouterr().err


def test_an_oversized_root_is_not_created(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert sign(desk) == 0
    many = [f"--add-publisher={SigningKey(bytes([n]) * 32).keyid}" for n in range(100, 131)]
    assert main(["root", "rotate", f"{desk}/root", *many]) == 1
    assert "Every machine would refuse this root" in capsys.readouterr().err
    body: dict[str, object] = {**body_of(desk / "root" / "2.json"), "version": 3}
    body["later"] = ["x" * 4000] * 16
    body["more"] = "x" * (MAX_BYTES - len(json.dumps(body)) - 20)
    assert 0 < len(str(body["more"])) < 4000
    (desk / "root" / "3.draft.json").write_text(json.dumps(body))
    assert main(["root", "sign", f"{desk}/root", "--key", f"{desk}/a"]) == 1
    assert f"more than {MAX_BYTES} bytes" in capsys.readouterr().err


@pytest.mark.parametrize("raw", [b"{}", b"x" * 70000])
def test_an_invalid_root_is_not_trusted_as_given(
    desk: Path, raw: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    (desk / "mine.json").write_bytes(raw)
    assert sign(desk, "--root", f"{desk}/mine.json") == 1
    assert "cannot be trusted as given" in capsys.readouterr().err
    assert main(["root", "show", f"{desk}/root", "--root", f"{desk}/none.json"]) == 1


def test_a_full_disk_leaves_the_draft_that_was_there(desk: Path) -> None:
    before = draft(desk).read_bytes()
    done = run(desk, FULL_DISK)
    assert (done.returncode, b"File too large" in done.stderr) == (1, True)
    assert draft(desk).read_bytes() == before
    assert sorted(path.name for path in (desk / "root").iterdir()) == ["1.json", "2.draft.json"]


def test_a_gap_in_the_chain_is_named(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert sign(desk) == 0
    (desk / "root" / "2.json").rename(desk / "root" / "3.json")
    capsys.readouterr()
    assert main(["root", "show", f"{desk}/root"]) == 1
    assert "3.json BAD: it contains root 2" in capsys.readouterr().out
