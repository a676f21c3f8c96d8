"""The node key: created once, unreadable to others and to jobs, never replaced silently."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from phase_boot.plasma.errors import PlasmaError
from phase_boot.plasma.node_key import NodeKey, ephemeral, load_or_create, signing_agent
from phase_boot.publish.errors import PublishError
from phase_boot.publish.keys.keyfile import encode_key, read_keyfile
from phase_boot.trust.keys import SigningKey
from phase_boot.trust.passphrase_box import Cost
from phase_boot.trust.receipt import read_receipt, sign_receipt
from tests.support.receipts import receipt


def test_the_key_is_made_at_first_use_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "plasma" / "node.key"
    first = load_or_create(path)
    assert first.note == f"the node key {path} was created"
    assert path.stat().st_mode & 0o777 == 0o600
    assert [file.name for file in path.parent.iterdir()] == ["node.key"]
    assert read_keyfile(path).keyid == first.key.keyid
    again = load_or_create(path)
    assert (again.key.keyid, again.note) == (first.key.keyid, "")


def test_leftovers_of_a_crash_beside_the_key_are_removed(tmp_path: Path) -> None:
    (tmp_path / ".node.key.new").write_text("half of a k")
    load_or_create(tmp_path / "node.key")
    assert [file.name for file in tmp_path.iterdir()] == ["node.key"]


@pytest.mark.parametrize("left", [b"", b"\0" * 199, b"\n"], ids=["empty", "zeros", "a line break"])
def test_an_empty_key_file_is_replaced_and_reported(left: bytes, tmp_path: Path) -> None:
    path = tmp_path / "node.key"
    path.write_bytes(left)
    path.chmod(0o600)
    made = load_or_create(path)
    assert made.note == f"the node key {path} was truncated, so this machine has a new one"
    assert load_or_create(path).key.keyid == made.key.keyid


def test_a_key_file_that_was_cut_anywhere_is_replaced(tmp_path: Path) -> None:
    whole = encode_key(SigningKey.generate(), None)
    path = tmp_path / "node.key"
    for length in range(len(whole) - 2):
        path.write_bytes(whole[:length])
        path.chmod(0o600)
        assert "was truncated" in load_or_create(path).note
    # Only the last line break is missing, so the key is there.
    path.write_bytes(whole[:-1])
    assert load_or_create(path).note == ""


@pytest.mark.parametrize(
    "changed",
    [
        b"not a key\n",
        b"{}\n",
        b'{"kind": "other"}\n',
        b'{"kind": "phase-boot-key-v1", "keyid": 7, "seed": ""}\n',
        encode_key(SigningKey(b"1" * 32), None).replace(b'"seed": "31', b'"seed": "32'),
        encode_key(SigningKey(b"1" * 32), b"secret", Cost(1, 8192)),
    ],
    ids=["text", "no fields", "another kind", "no key id", "another's key id", "sealed"],
)
def test_a_changed_key_file_is_refused_and_kept(changed: bytes, tmp_path: Path) -> None:
    path = tmp_path / "node.key"
    path.write_bytes(changed)
    path.chmod(0o600)
    with pytest.raises(PublishError, match=str(path)):
        load_or_create(path)
    assert path.read_bytes() == changed


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o666])
def test_a_key_that_others_may_read_is_refused_and_stays(mode: int, tmp_path: Path) -> None:
    path = tmp_path / "node.key"
    before = load_or_create(path).key.keyid
    path.chmod(mode)
    with pytest.raises(PublishError, match=f"is open to others .mode {mode:04o}"):
        load_or_create(path)
    assert read_keyfile_keyid(path) == before


def test_an_empty_key_file_that_others_may_write_is_refused_and_stays(tmp_path: Path) -> None:
    path = tmp_path / "node.key"
    path.touch()
    path.chmod(0o666)
    with pytest.raises(PublishError, match="is open to others"):
        load_or_create(path)
    assert path.read_bytes() == b""


def read_keyfile_keyid(path: Path) -> str:
    return str(json.loads(path.read_text())["keyid"])


def test_a_folder_in_the_place_of_the_key_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PublishError, match="cannot be read: Is a directory"):
        load_or_create(tmp_path)


def test_a_disk_that_takes_no_key_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(PlasmaError, match="The node key cannot be written to "):
        load_or_create(tmp_path / "file" / "node.key")
    (tmp_path / "gone").symlink_to("nowhere/node.key")
    with pytest.raises(PlasmaError, match="Another process is creating"):
        load_or_create(tmp_path / "gone")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["file", "gone"]


def test_a_key_for_one_run_is_another_every_time() -> None:
    first, second = ephemeral(), ephemeral()
    assert first.key.keyid != second.key.keyid
    assert "temporary" in first.note


def test_the_agent_signs_receipts(tmp_path: Path) -> None:
    path = tmp_path / "node.key"
    with signing_agent(lambda: load_or_create(path)) as agent:
        assert agent.note == f"the node key {path} was created"
        for number in range(3):
            raw = sign_receipt(agent, receipt(node=agent.keyid, fuel=number))
            assert read_receipt(raw).fuel == number
    assert read_keyfile_keyid(path) == agent.keyid


def test_the_agent_signs_nothing_but_receipts() -> None:
    with signing_agent(ephemeral) as agent:
        for message in (b"phase-boot-manifest-v1\n{}", b"x", b"phase-boot-receipt-v1"):
            with pytest.raises(PlasmaError, match="refuses this message"):
                agent.sign(message)
        assert len(agent.sign(b"phase-boot-receipt-v1\n{}")) == 64


def test_a_key_that_is_refused_is_refused_in_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "node.key"
    path.write_text("{}")
    path.chmod(0o600)
    with (
        pytest.raises(PlasmaError, match="is not a key file"),
        signing_agent(lambda: load_or_create(path)),
    ):
        pytest.fail("there is no key")


def test_an_agent_that_exits_is_a_clear_error() -> None:
    def die() -> NodeKey:
        os._exit(1)

    with pytest.raises(PlasmaError, match="cannot be read"), signing_agent(die):
        pytest.fail("there is no key")


def test_no_agent_process_is_left() -> None:
    with signing_agent(ephemeral):
        pass
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_the_parent_process_never_has_the_key(tmp_path: Path) -> None:
    path = tmp_path / "node.key"
    with signing_agent(lambda: load_or_create(path)) as agent:
        seed = bytes.fromhex(json.loads(path.read_text())["seed"])
        assert not any(seed in str(value).encode() for value in vars(agent).values())
