"""Attacks on a publisher's key file: permissions, costs, damage, crashes."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from phase_boot.cli.main import main
from phase_boot.drill.sample_manifest import PUBLISHER, UNTRUSTED_KEY
from phase_boot.publish.errors import PublishError
from phase_boot.publish.keys.keyfile import encode_key, read_key, read_keyfile
from phase_boot.publish.keys.passphrase import Attempts, from_file
from phase_boot.trust.passphrase_box import Cost, seal
from tests.support.failing_programs import FULL_DISK, LITTLE_MEMORY, killed_before_rename

CHEAP = Cost(passes=1, memory=8192)
SOMEBODY = 12345


def attempts(*passphrases: bytes) -> Attempts:
    return lambda _: iter(passphrases)


def run(program: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program, *words],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.fixture
def sealed(tmp_path: Path) -> Path:
    path = tmp_path / "key"
    path.write_bytes(encode_key(PUBLISHER, b"right", CHEAP))
    path.chmod(0o600)
    return path


def changed(path: Path, **fields: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_bytes()), **fields}))


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o610, 0o601, 0o4640])
def test_a_key_or_passphrase_that_others_can_open_is_refused(sealed: Path, mode: int) -> None:
    sealed.chmod(mode)
    with pytest.raises(PublishError, match="open to others"):
        read_key(sealed, attempts(b"right"))
    with pytest.raises(PublishError, match="open to others"):
        from_file(sealed)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_key_file_owned_by_another_user_is_refused(sealed: Path) -> None:
    os.chown(sealed, SOMEBODY, SOMEBODY)
    with pytest.raises(PublishError, match=f"belongs to user {SOMEBODY}"):
        read_key(sealed, attempts(b"right"))


def test_the_target_of_a_link_is_checked(sealed: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(sealed)
    assert read_key(link, attempts(b"right")).keyid == PUBLISHER.keyid
    sealed.chmod(0o644)
    with pytest.raises(PublishError, match="open to others"):
        read_key(link, attempts(b"right"))


def test_a_pipe_without_a_writer_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "key", 0o600)
    with pytest.raises(PublishError, match="not a key file"):
        read_key(tmp_path / "key")


@pytest.mark.parametrize("place", ["/dev/zero", "/dev/tty0", "/"])
def test_a_device_or_a_folder_is_no_key(place: str) -> None:
    with pytest.raises(PublishError):
        read_key(Path(place))


@pytest.mark.parametrize(
    "fields",
    [
        {"memory": 2**40},
        {"memory": 2**30 + 1},
        {"memory": 0},
        {"memory": -1},
        {"passes": 2**32},
        {"passes": 17},
        {"passes": 0},
        {"memory": 10**1000},
    ],
)
def test_a_key_with_an_excessive_cost_is_refused_unopened(
    sealed: Path, fields: dict[str, object]
) -> None:
    changed(sealed, **fields)

    def asked(_: Path) -> Iterator[bytes]:
        raise AssertionError("nobody is asked for the passphrase of such a file")

    with pytest.raises(PublishError, match="has parameters outside the limits"):
        read_key(sealed, asked)


@pytest.mark.parametrize(
    "fields",
    [
        {"memory": "8192"},
        {"memory": 8192.0},
        {"passes": True},
        {"salt": "00"},
        {"salt": "zz" * 16},
        {"box": 7},
        {"keyid": "ed25519:00"},
        {"kind": "phase-boot-sealed-key-v2"},
    ],
)
def test_a_sealed_key_that_is_damaged_is_no_key_file(
    sealed: Path, fields: dict[str, object]
) -> None:
    changed(sealed, **fields)
    with pytest.raises(PublishError, match="is not a key file"):
        read_keyfile(sealed)


def test_too_little_memory_is_one_sentence(sealed: Path, tmp_path: Path) -> None:
    changed(sealed, memory=2**30)
    (tmp_path / "passphrase").write_text("right")
    (tmp_path / "passphrase").chmod(0o600)
    words = ("--remove", "--passphrase-file", str(tmp_path / "passphrase"))
    done = run(LITTLE_MEMORY, "key", "passphrase", str(sealed), *words)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert "less than the 1024 MiB of memory" in done.stderr


def test_a_flipped_bit_is_never_another_key(sealed: Path) -> None:
    whole = sealed.read_bytes()
    for place in range(0, len(whole) * 8, 7):
        flipped = bytearray(whole)
        flipped[place // 8] ^= 1 << place % 8
        sealed.write_bytes(flipped)
        try:
            key = read_key(sealed, attempts(b"right"))
        except PublishError:
            continue
        # Spelled in another way, such as a hex digit in the other case, and still the same.
        assert key.seed == PUBLISHER.seed


def test_passphrase_attempts_are_bounded(sealed: Path) -> None:
    with pytest.raises(PublishError, match="No given passphrase opens"):
        read_key(sealed, attempts(b"wrong", b"Right", b""))


def test_a_key_under_another_key_id_is_refused(sealed: Path) -> None:
    changed(sealed, keyid=UNTRUSTED_KEY.keyid)
    assert read_keyfile(sealed).keyid == UNTRUSTED_KEY.keyid
    with pytest.raises(PublishError, match="not that of the key"):
        read_key(sealed, attempts(b"right"))


def test_a_box_that_holds_no_key_is_refused(sealed: Path) -> None:
    box = seal(b"\x01" * 31, b"right", CHEAP)
    changed(sealed, salt=box.salt.hex(), box=box.box.hex())
    with pytest.raises(PublishError, match="not that of the key"):
        read_key(sealed, attempts(b"right"))


def test_a_full_disk_leaves_the_key_that_was_there_and_no_half_of_another(
    sealed: Path, tmp_path: Path
) -> None:
    before = sealed.read_bytes()
    (tmp_path / "passphrase").write_text("right")
    (tmp_path / "passphrase").chmod(0o600)
    words = ("--passphrase-file", f"{tmp_path}/passphrase")
    for done in (
        run(FULL_DISK, "key", "passphrase", str(sealed), *words, "--remove"),
        run(FULL_DISK, "key", "new", f"{tmp_path}/other"),
    ):
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
        assert "File too large" in done.stderr
    assert sealed.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["key", "passphrase"]


def test_sealing_without_the_memory_for_it_makes_no_key(tmp_path: Path) -> None:
    (tmp_path / "passphrase").write_text("right")
    (tmp_path / "passphrase").chmod(0o600)
    words = ("key", "new", f"{tmp_path}/key", "--passphrase-file", f"{tmp_path}/passphrase")
    done = run(LITTLE_MEMORY.replace("512", "200"), *words)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "256 MiB of memory that encryption takes" in done.stderr
    assert not (tmp_path / "key").exists()


def test_a_crash_before_the_rename_leaves_the_key_that_was_there(
    sealed: Path, tmp_path: Path
) -> None:
    before = sealed.read_bytes()
    (tmp_path / "passphrase").write_text("right")
    (tmp_path / "passphrase").chmod(0o600)
    words = ("key", "passphrase", str(sealed), "--passphrase-file", f"{tmp_path}/passphrase")
    done = run(killed_before_rename(), *words, "--remove")
    assert done.returncode == -signal.SIGKILL
    assert sealed.read_bytes() == before
    left = tmp_path / ".key.new"
    assert stat.S_IMODE(left.stat().st_mode) == 0o600
    assert main([*words, "--new-passphrase-file", f"{tmp_path}/passphrase"]) == 0
    assert not left.exists()
    assert read_key(sealed, attempts(b"right")).seed == PUBLISHER.seed
