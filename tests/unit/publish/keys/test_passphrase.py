"""Keys under a passphrase: at a terminal, from files, and on the disk."""

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
from tests.support.terminal_user import TerminalUser

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
def sealed(workdir: Path) -> Path:
    return private(workdir / "key", encode_key(PUBLISHER, SESAME.encode(), CHEAP))


@pytest.fixture
def secret(workdir: Path) -> Path:
    return private(workdir / "secret", f"{SESAME}\nmore\n".encode())


def test_a_new_key_is_sealed_at_the_terminal_and_nothing_typed_is_shown(workdir: Path) -> None:
    key = workdir / "key"
    with TerminalUser(["key", "new", str(key), "--passphrase"]) as user:
        user.answer(f"New passphrase for {key}: ", SESAME)
        user.answer("The same again: ", SESAME)
        assert user.leave() == 0
    found = json.loads(key.read_bytes())
    assert (found["kind"], found["memory"]) == ("phase-boot-sealed-key-v1", 256 * 2**20)
    assert "seed" not in found
    assert found["keyid"] in user.shown
    assert "phr" not in user.shown.replace("passphrase", "")
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert read_key(key, lambda _: iter([SESAME.encode()])).keyid == found["keyid"]


@pytest.mark.parametrize(
    ("lines", "why"), [([""], "protects nothing"), (["one", "two"], "passphrases differ")]
)
def test_a_passphrase_that_is_empty_or_mistyped_makes_no_key(
    workdir: Path, lines: list[str], why: str
) -> None:
    with TerminalUser(["key", "new", str(workdir / "key"), "--passphrase"]) as user:
        for prompt, line in zip(("New passphrase", "The same again"), lines, strict=False):
            user.answer(prompt, line)
        assert user.leave() == 1
    assert why in user.shown
    assert not (workdir / "key").exists()


def test_two_wrong_passphrases_are_allowed_at_the_terminal(sealed: Path, workdir: Path) -> None:
    words = PUBLISH.replace("@", str(workdir)).split()
    with TerminalUser(words) as user:
        for line in ("wrong", "", SESAME):
            user.answer(f"Passphrase of {sealed}: ", line)
        assert user.leave() == 0
    assert user.shown.count("That is not the passphrase") == 2
    assert (workdir / "site/stable/amd64/manifest.json").exists()


def test_a_third_wrong_passphrase_is_an_error(sealed: Path, workdir: Path) -> None:
    with TerminalUser(PUBLISH.replace("@", str(workdir)).split()) as user:
        for _ in range(3):
            user.answer(f"Passphrase of {sealed}: ", "wrong")
        assert user.leave() == 1
    assert user.shown.count("That is not the passphrase") == 3
    assert f"No given passphrase opens {sealed}" in user.shown
    assert not (workdir / "site").exists()


def test_without_a_terminal_one_sentence_says_what_to_do(sealed: Path, workdir: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "phase_boot.cli", *PUBLISH.replace("@", str(workdir)).split()],
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
def test_a_script_opens_the_key_with_a_file(run: Run, workdir: Path) -> None:
    status, _, err = run(f"{PUBLISH} --passphrase-file @/secret")
    assert (status, err) == (0, "")
    assert (workdir / "site/stable/amd64/manifest.json").exists()


@pytest.mark.usefixtures("sealed", "secret")
def test_each_of_several_files_is_tried(run: Run, workdir: Path) -> None:
    private(workdir / "other", b"something else\n")
    files = "--passphrase-file @/other --passphrase-file @/secret"
    assert run(f"{PUBLISH} {files}")[0] == 0


@pytest.mark.usefixtures("secret")
def test_a_script_makes_a_sealed_key(run: Run, workdir: Path) -> None:
    status, keyid, _ = run("key new @/new --passphrase-file @/secret")
    assert status == 0
    assert "seed" not in json.loads((workdir / "new").read_bytes())
    assert run("key show @/new") == (0, keyid, "")


@pytest.mark.usefixtures("sealed")
def test_the_key_id_needs_no_passphrase(run: Run) -> None:
    assert run("key show @/key") == (0, f"{PUBLISHER.keyid}\n", "")
    run(PUBLISH)
    status, _, _ = run("verify @/key --key @/key")
    assert status == 1


@pytest.mark.usefixtures("secret")
def test_a_passphrase_is_added_changed_and_removed_and_the_key_stays(
    run: Run, workdir: Path
) -> None:
    key = private(workdir / "key", encode_key(PUBLISHER, None))
    private(workdir / "second", b"second\r\n")
    files = "--passphrase-file @/secret --new-passphrase-file @/second"
    assert run("key passphrase @/key --new-passphrase-file @/secret")[0] == 0
    assert read_key(key, lambda _: iter([SESAME.encode()])).seed == PUBLISHER.seed
    assert run(f"key passphrase @/key {files}")[0] == 0
    assert read_key(key, lambda _: iter([b"second"])).seed == PUBLISHER.seed
    assert run("key passphrase @/key --passphrase-file @/secret --remove")[0] == 1
    assert run("key passphrase @/key --passphrase-file @/second --remove")[0] == 0
    assert read_key(key).seed == PUBLISHER.seed
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert [path.name for path in workdir.iterdir() if "key" in path.name] == ["key"]


def test_a_passphrase_is_changed_at_the_terminal(sealed: Path) -> None:
    with TerminalUser(["key", "passphrase", str(sealed)]) as user:
        user.answer("Passphrase of", SESAME)
        user.answer("New passphrase for", "next")
        user.answer("The same again", "next")
        assert user.leave() == 0
    assert read_key(sealed, lambda _: iter([b"next"])).keyid == PUBLISHER.keyid


def test_a_link_to_a_key_stays_a_link(sealed: Path, secret: Path, run: Run, workdir: Path) -> None:
    (workdir / "link").symlink_to(sealed)
    assert run(f"key passphrase @/link --passphrase-file {secret} --remove")[0] == 0
    assert (workdir / "link").is_symlink()
    assert read_key(sealed).seed == PUBLISHER.seed


def test_a_passphrase_is_compared_in_normalized_form(workdir: Path) -> None:
    composed = private(workdir / "a", "ä".encode())
    decomposed = private(workdir / "b", "a\u0308".encode())
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
def test_a_file_without_a_passphrase_is_reported_in_one_sentence(
    run: Run, workdir: Path, data: bytes, why: str
) -> None:
    private(workdir / "secret", data)
    status, out, err = run(f"{PUBLISH} --passphrase-file @/secret")
    assert (status, out, err.count("\n")) == (1, "", 1)
    assert why in err


def test_a_passphrase_is_read_from_a_pipe(sealed: Path, run: Run) -> None:
    read, write = os.pipe()
    os.write(write, SESAME.encode())
    os.close(write)
    status, _, err = run(f"key passphrase {sealed} --remove --passphrase-file /dev/fd/{read}")
    os.close(read)
    assert (status, err) == (0, "")
    assert read_key(sealed).seed == PUBLISHER.seed
