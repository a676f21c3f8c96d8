"""Attacks on the signers of roots: forged chains, changed drafts, and crashes."""

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
from tests.support.terminal_user import TerminalUser

A, B = (SigningKey(bytes([number]) * 32) for number in (10, 11))


@pytest.fixture
def workdir(tmp_path: Path) -> Path:
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


def draft(workdir: Path) -> Path:
    return workdir / "root" / "2.draft.json"


def sign(workdir: Path, *more: str) -> int:
    return main(["root", "sign", f"{workdir}/root", "--key", f"{workdir}/b", *more])


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
    workdir: Path, old: str, new: str, capsys: pytest.CaptureFixture[str]
) -> None:
    changed = draft(workdir).read_text().replace(old, new)
    draft(workdir).write_text(changed)
    assert sign(workdir) == 1
    assert "is invalid for" in capsys.readouterr().err
    assert draft(workdir).read_text() == changed
    assert not (workdir / "root" / "2.json").exists()


def test_a_draft_that_is_swapped_while_it_is_read_is_not_signed(workdir: Path) -> None:
    (workdir / "b").write_bytes(encode_key(B, b"sesame", Cost(passes=1, memory=8192)))
    body = body_of(draft(workdir))
    swapped = signed({**body, "later": 1}, A)
    with TerminalUser(["root", "sign", f"{workdir}/root", "--key", f"{workdir}/b"]) as user:
        user.wait("Passphrase of")
        draft(workdir).write_text(swapped)
        user.answer(": ", "sesame")
        assert user.leave() == 1
    assert "was changed after it was shown" in user.shown
    assert draft(workdir).read_text() == swapped
    assert not (workdir / "root" / "2.json").exists()


def test_a_draft_under_another_number_is_refused(
    workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    draft(workdir).rename(workdir / "root" / "3.draft.json")
    assert sign(workdir) == 1
    assert "contains root 2" in capsys.readouterr().err


def test_a_draft_that_skips_a_root_is_refused(
    workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    third = workdir / "root" / "3.draft.json"
    draft(workdir).rename(third)
    third.write_text(signed({**body_of(third), "version": 3}, A))
    before = third.read_text()
    assert sign(workdir) == 1
    assert "must be in the folder of root 2" in capsys.readouterr().err
    assert third.read_text() == before


def test_a_draft_without_the_roots_before_it_is_refused(
    workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (workdir / "root" / "1.json").unlink()
    assert sign(workdir) == 1
    assert "There is no root" in capsys.readouterr().err
    assert draft(workdir).exists()


def test_a_swapped_chain_is_detected_with_a_given_root(
    workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (workdir / "mine.json").write_bytes((workdir / "root" / "1.json").read_bytes())
    forged = body_of(workdir / "root" / "1.json")
    forged["root"] = {"keys": sorted([B.keyid, UNTRUSTED_KEY.keyid]), "threshold": 1}
    (workdir / "root" / "1.json").write_text(signed(forged, UNTRUSTED_KEY))
    draft(workdir).write_text(signed({**forged, "version": 2}, UNTRUSTED_KEY))
    assert sign(workdir, "--root", f"{workdir}/mine.json") == 1
    assert "it is not the root that is trusted" in capsys.readouterr().err
    assert not (workdir / "root" / "2.json").exists()


def test_a_root_cannot_write_to_the_terminal(
    workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    body = {**body_of(draft(workdir)), "\x1b[2J": ["\x9b31m\r\u202e"]}
    draft(workdir).write_text(signed(body, A))
    assert sign(workdir) == 0
    shown = capsys.readouterr().out.replace(str(workdir), "")
    assert shown.isascii()
    assert all(char.isprintable() or char == "\n" for char in shown)


def test_a_signature_by_an_unlisted_key_completes_nothing(workdir: Path) -> None:
    path = str(draft(workdir))
    before = draft(workdir).read_bytes()
    assert main(["root", "sign", path, "--key", f"{workdir}/stranger"]) == 1
    assert main(["root", "sign", path, "--key", f"{workdir}/a"]) == 0
    assert draft(workdir).read_bytes() == before
    assert not (workdir / "root" / "2.json").exists()


def run(workdir: Path, program: str) -> subprocess.CompletedProcess[bytes]:
    words = ("root", "sign", f"{workdir}/root", "--key", f"{workdir}/b")
    return subprocess.run(
        [sys.executable, "-c", program, *words],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize("number", [1, 2])
def test_a_crash_while_a_root_is_completed_leaves_a_draft(workdir: Path, number: int) -> None:
    before = draft(workdir).read_bytes()
    assert run(workdir, killed_before_rename(number)).returncode == -signal.SIGKILL
    assert not (workdir / "root" / "2.json").exists()
    assert (draft(workdir).read_bytes() == before) is (number == 1)
    assert sign(workdir) == 0
    first = load_trusted((workdir / "root" / "1.json").read_bytes())
    assert verify_next(first, (workdir / "root" / "2.json").read_bytes()).version == 2
    assert sorted(path.name for path in (workdir / "root").iterdir()) == ["1.json", "2.json"]


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (lambda raw: raw.replace(PUBLISHER.keyid.encode(), UNTRUSTED_KEY.keyid.encode()), "1 BAD"),
        (lambda _: b"{", "1 BAD"),
        (lambda _: b"x" * 70000, "1 BAD"),
    ],
)
def test_an_invalid_root_of_the_chain_is_named_and_its_successors_too(
    workdir: Path, damage: object, why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert callable(damage)
    assert sign(workdir) == 0
    path = workdir / "root" / "1.json"
    path.write_bytes(damage(path.read_bytes()))
    capsys.readouterr()
    assert main(["root", "show", f"{workdir}/root"]) == 1
    shown = capsys.readouterr().out
    assert f"{why[0]}.json BAD" in shown
    assert "2.json BAD: the root before it is refused" in shown
    assert main(["root", "rotate", f"{workdir}/root", "--expires", "+9d"]) == 1


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
    workdir: Path, damage: object, capsys: pytest.CaptureFixture[str]
) -> None:
    assert callable(damage)
    draft(workdir).write_bytes(damage(draft(workdir).read_bytes()))
    capsys.readouterr()
    assert main(["root", "show", f"{workdir}/root"]) == 1
    output = capsys.readouterr()
    assert ("2.draft.json BAD" in output.out, output.err) == (True, "")
    assert main(["root", "show", str(draft(workdir))]) == 1
    assert sign(workdir) == 1
    assert not (workdir / "root" / "2.json").exists()


def test_a_second_first_root_is_never_made(
    workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = workdir / "root" / "1.json"
    before = first.read_bytes()
    other = signed({**body_of(first), "later": 1}, A)
    (workdir / "root" / "1.draft.json").write_text(other)
    assert main(["root", "sign", f"{workdir}/root/1.draft.json", "--key", f"{workdir}/b"]) == 1
    assert "a root is never overwritten" in capsys.readouterr().err
    assert first.read_bytes() == before
    first.rename(workdir / "root" / "4.json")
    stable = ["--channel", "stable", "--publisher", PUBLISHER.keyid, "--expires", "+365d"]
    words = ["root", "new", f"{workdir}/root", "--key", f"{workdir}/a", *stable, "--force"]
    assert main(words) == 1
    assert "use `phase-boot root rotate`" in capsys.readouterr().err


def test_an_oversized_root_is_not_created(
    workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sign(workdir) == 0
    many = [f"--add-publisher={SigningKey(bytes([n]) * 32).keyid}" for n in range(100, 131)]
    assert main(["root", "rotate", f"{workdir}/root", *many]) == 1
    assert "Every machine would refuse this root" in capsys.readouterr().err
    body: dict[str, object] = {**body_of(workdir / "root" / "2.json"), "version": 3}
    body["later"] = ["x" * 4000] * 16
    body["more"] = "x" * (MAX_BYTES - len(json.dumps(body)) - 20)
    assert 0 < len(str(body["more"])) < 4000
    (workdir / "root" / "3.draft.json").write_text(json.dumps(body))
    assert main(["root", "sign", f"{workdir}/root", "--key", f"{workdir}/a"]) == 1
    assert f"more than {MAX_BYTES} bytes" in capsys.readouterr().err


@pytest.mark.parametrize("raw", [b"{}", b"x" * 70000])
def test_an_invalid_root_is_not_trusted_as_given(
    workdir: Path, raw: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    (workdir / "mine.json").write_bytes(raw)
    assert sign(workdir, "--root", f"{workdir}/mine.json") == 1
    assert "cannot be trusted as given" in capsys.readouterr().err
    assert main(["root", "show", f"{workdir}/root", "--root", f"{workdir}/none.json"]) == 1


def test_a_full_disk_leaves_the_draft_that_was_there(workdir: Path) -> None:
    before = draft(workdir).read_bytes()
    done = run(workdir, FULL_DISK)
    assert (done.returncode, b"File too large" in done.stderr) == (1, True)
    assert draft(workdir).read_bytes() == before
    assert sorted(path.name for path in (workdir / "root").iterdir()) == ["1.json", "2.draft.json"]


def test_a_gap_in_the_chain_is_named(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert sign(workdir) == 0
    (workdir / "root" / "2.json").rename(workdir / "root" / "3.json")
    capsys.readouterr()
    assert main(["root", "show", f"{workdir}/root"]) == 1
    assert "3.json BAD: it contains root 2" in capsys.readouterr().out
