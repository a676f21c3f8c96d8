"""Keys under a passphrase: at a terminal, from files, and what stays on the disk."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from phase_boot.drill.sample_manifest import PUBLISHER
from phase_boot.publish.keys.keyfile import encode_key, read_key
from phase_boot.publish.keys.passphrase import from_file
from phase_boot.trust.passphrase_box import Cost
from tests.support.terminal_user import Typist

Run = Callable[..., tuple[int, str, str]]

CHEAP = Cost(passes=1, memory=8192)
SESAME = "päss phräse"
PUBLISH = (
    "publish --channel stable --arch amd64 --version 1 --kernel @/kernel --initramfs @/initramfs "
    "--rootfs @/rootfs --key @/key --out @/site --issued 2025-11-12T08:00:00Z --expires +99y"
)


def private(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    path.chmod(0o600)
    return path


@pytest.fixture
def sealed(desk: Path) -> Path:
    return private(desk / "key", encode_key(PUBLISHER, SESAME.encode(), CHEAP))


@pytest.fixture
def secret(desk: Path) -> Path:
    return private(desk / "secret", f"{SESAME}\nmore\n".encode())


def test_a_new_key_is_sealed_at_the_terminal_and_nothing_typed_is_shown(desk: Path) -> None:
    key = desk / "key"
    with Typist(["key", "new", str(key), "--passphrase"]) as typist:
        typist.answer(f"New passphrase for {key}: ", SESAME)
        typist.answer("The same again: ", SESAME)
        assert typist.leave() == 0
    found = json.loads(key.read_bytes())
    assert (found["kind"], found["memory"]) == ("phase-boot-sealed-key-v1", 256 * 2**20)
    assert "seed" not in found
    assert found["keyid"] in typist.shown
    assert "phr" not in typist.shown.replace("passphrase", "")
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert read_key(key, lambda _: iter([SESAME.encode()])).keyid == found["keyid"]


@pytest.mark.parametrize(
    ("lines", "why"), [([""], "protects nothing"), (["one", "two"], "passphrases differ")]
)
def test_a_passphrase_that_is_empty_or_mistyped_makes_no_key(
    desk: Path, lines: list[str], why: str
) -> None:
    with Typist(["key", "new", str(desk / "key"), "--passphrase"]) as typist:
        for prompt, line in zip(("New passphrase", "The same again"), lines, strict=False):
            typist.answer(prompt, line)
        assert typist.leave() == 1
    assert why in typist.shown
    assert not (desk / "key").exists()


def test_two_wrong_passphrases_are_allowed_at_the_terminal(sealed: Path, desk: Path) -> None:
    words = PUBLISH.replace("@", str(desk)).split()
    with Typist(words) as typist:
        for line in ("wrong", "", SESAME):
            typist.answer(f"Passphrase of {sealed}: ", line)
        assert typist.leave() == 0
    assert typist.shown.count("That is not the passphrase") == 2
    assert (desk / "site/stable/amd64/manifest.json").exists()


def test_a_third_wrong_passphrase_is_an_error(sealed: Path, desk: Path) -> None:
    with Typist(PUBLISH.replace("@", str(desk)).split()) as typist:
        for _ in range(3):
            typist.answer(f"Passphrase of {sealed}: ", "wrong")
        assert typist.leave() == 1
    assert typist.shown.count("That is not the passphrase") == 3
    assert f"No given passphrase opens {sealed}" in typist.shown
    assert not (desk / "site").exists()


def test_without_a_terminal_one_sentence_says_what_to_do(sealed: Path, desk: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "phase_boot.cli", *PUBLISH.replace("@", str(desk)).split()],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        start_new_session=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert "--passphrase-file" in done.stderr
    assert sealed.exists()


@pytest.mark.usefixtures("sealed", "secret")
def test_a_script_opens_the_key_with_a_file(run: Run, desk: Path) -> None:
    status, _, err = run(f"{PUBLISH} --passphrase-file @/secret")
    assert (status, err) == (0, "")
    assert (desk / "site/stable/amd64/manifest.json").exists()


@pytest.mark.usefixtures("sealed", "secret")
def test_each_of_several_files_is_tried(run: Run, desk: Path) -> None:
    private(desk / "other", b"something else\n")
    files = "--passphrase-file @/other --passphrase-file @/secret"
    assert run(f"{PUBLISH} {files}")[0] == 0


@pytest.mark.usefixtures("secret")
def test_a_script_makes_a_sealed_key(run: Run, desk: Path) -> None:
    status, keyid, _ = run("key new @/new --passphrase-file @/secret")
    assert status == 0
    assert "seed" not in json.loads((desk / "new").read_bytes())
    assert run("key show @/new") == (0, keyid, "")


@pytest.mark.usefixtures("sealed")
def test_the_key_id_needs_no_passphrase(run: Run) -> None:
    assert run("key show @/key") == (0, f"{PUBLISHER.keyid}\n", "")
    run(PUBLISH)
    status, _, _ = run("verify @/key --key @/key")
    assert status == 1


@pytest.mark.usefixtures("secret")
def test_a_passphrase_is_added_changed_and_removed_and_the_key_stays(run: Run, desk: Path) -> None:
    key = private(desk / "key", encode_key(PUBLISHER, None))
    private(desk / "second", b"second\r\n")
    files = "--passphrase-file @/secret --new-passphrase-file @/second"
    assert run("key passphrase @/key --new-passphrase-file @/secret")[0] == 0
    assert read_key(key, lambda _: iter([SESAME.encode()])).seed == PUBLISHER.seed
    assert run(f"key passphrase @/key {files}")[0] == 0
    assert read_key(key, lambda _: iter([b"second"])).seed == PUBLISHER.seed
    assert run("key passphrase @/key --passphrase-file @/secret --remove")[0] == 1
    assert run("key passphrase @/key --passphrase-file @/second --remove")[0] == 0
    assert read_key(key).seed == PUBLISHER.seed
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert [path.name for path in desk.iterdir() if "key" in path.name] == ["key"]


def test_a_passphrase_is_changed_at_the_terminal(sealed: Path) -> None:
    with Typist(["key", "passphrase", str(sealed)]) as typist:
        typist.answer("Passphrase of", SESAME)
        typist.answer("New passphrase for", "next")
        typist.answer("The same again", "next")
        assert typist.leave() == 0
    assert read_key(sealed, lambda _: iter([b"next"])).keyid == PUBLISHER.keyid


def test_a_link_to_a_key_stays_a_link(sealed: Path, secret: Path, run: Run, desk: Path) -> None:
    (desk / "link").symlink_to(sealed)
    assert run(f"key passphrase @/link --passphrase-file {secret} --remove")[0] == 0
    assert (desk / "link").is_symlink()
    assert read_key(sealed).seed == PUBLISHER.seed


def test_a_passphrase_is_compared_in_normalized_form(desk: Path) -> None:
    composed = private(desk / "a", "ä".encode())
    decomposed = private(desk / "b", "a\u0308".encode())
    assert from_file(composed) == from_file(decomposed)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "protects nothing"),
        (b"\nsecond line\n", "protects nothing"),
        (b"\xff\xfe\n", "UTF-8"),
        (b"x" * 1025, "at most 1024 bytes"),
    ],
)
@pytest.mark.usefixtures("sealed")
def test_a_file_without_a_passphrase_is_told_in_one_sentence(
    run: Run, desk: Path, data: bytes, why: str
) -> None:
    private(desk / "secret", data)
    status, out, err = run(f"{PUBLISH} --passphrase-file @/secret")
    assert (status, out, err.count("\n")) == (1, "", 1)
    assert why in err


def test_a_passphrase_comes_through_a_pipe(sealed: Path, run: Run) -> None:
    read, write = os.pipe()
    os.write(write, SESAME.encode())
    os.close(write)
    status, _, err = run(f"key passphrase {sealed} --remove --passphrase-file /dev/fd/{read}")
    os.close(read)
    assert (status, err) == (0, "")
    assert read_key(sealed).seed == PUBLISHER.seed
