"""Announcing keys in a publisher's roots: delegated, replaced, shown, never also signers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from phase_boot.drill.sample_manifest import PUBLISHER
from phase_boot.publish.keys.keyfile import encode_key
from phase_boot.trust.keys import SigningKey
from phase_boot.trust.root import load_trusted, verify_next
from tests.support.manifests import SECOND

Run = Callable[..., tuple[int, str, str]]

ROOT_KEY = SigningKey(b"\x0a" * 32)
ANNOUNCER, SECOND_ANNOUNCER, *MORE = (
    SigningKey(bytes([number]) * 32) for number in range(0x41, 0x46)
)
NEW = "root new @/root --channel stable --expires +365d --key @/root.key --publisher @/publisher"
ANNOUNCED = f"{NEW} --announcer @/announcer"
ROTATE = "root rotate @/root --key @/root.key"


@pytest.fixture(autouse=True)
def keys(workdir: Path) -> None:
    named = {"root.key": ROOT_KEY, "publisher": PUBLISHER, "announcer": ANNOUNCER}
    for name, key in named.items():
        (workdir / name).write_bytes(encode_key(key, None))
        (workdir / name).chmod(0o600)


def body(workdir: Path, version: int) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((workdir / "root" / f"{version}.json").read_bytes())
    return found


def files(workdir: Path) -> list[str]:
    return sorted(path.name for path in (workdir / "root").iterdir())


def test_a_first_root_names_announcing_keys_in_their_order(run: Run, workdir: Path) -> None:
    assert run(f"{NEW} --announcer {SECOND_ANNOUNCER.keyid} --announcer @/announcer")[0] == 0
    root = load_trusted((workdir / "root" / "1.json").read_bytes())
    assert root.announcers == (SECOND_ANNOUNCER.keyid, ANNOUNCER.keyid)
    assert body(workdir, 1)["announcers"] == [SECOND_ANNOUNCER.keyid, ANNOUNCER.keyid]


def test_a_root_without_announcing_keys_has_no_such_field(run: Run, workdir: Path) -> None:
    run(NEW)
    run(f"{ROTATE} --expires +400d")
    assert ["announcers" in body(workdir, version) for version in (1, 2)] == [False, False]
    run(f"{ROTATE} --add-announcer @/announcer")
    assert run(f"{ROTATE} --remove-announcer {ANNOUNCER.keyid}")[0] == 0
    assert ["announcers" in body(workdir, version) for version in (3, 4)] == [True, False]


def test_a_rotation_of_something_else_keeps_the_announcing_keys(run: Run, workdir: Path) -> None:
    run(f"{ANNOUNCED} --announcer {SECOND_ANNOUNCER.keyid}")
    assert run(f"{ROTATE} --expires +400d --add-publisher {SECOND.keyid}")[0] == 0
    assert body(workdir, 2)["announcers"] == [ANNOUNCER.keyid, SECOND_ANNOUNCER.keyid]


def test_a_rotation_replaces_an_announcing_key(run: Run, workdir: Path) -> None:
    run(ANNOUNCED)
    words = f"{ROTATE} --remove-announcer @/announcer --add-announcer {SECOND_ANNOUNCER.keyid}"
    assert run(words)[0] == 0
    first, second = ((workdir / "root" / f"{version}.json").read_bytes() for version in (1, 2))
    assert verify_next(load_trusted(first), second).announcers == (SECOND_ANNOUNCER.keyid,)


def test_a_signer_is_shown_the_announcing_keys_and_their_changes(run: Run) -> None:
    run(f"{ANNOUNCED} --announcer {SECOND_ANNOUNCER.keyid} --announcer {MORE[0].keyid}")
    out = run("root show @/root/1.json")[1]
    assert out.endswith(
        f"  announcing  {ANNOUNCER.keyid}\n              {SECOND_ANNOUNCER.keyid}\n"
        f"              {MORE[0].keyid}\n"
    )
    change = f"--remove-announcer {SECOND_ANNOUNCER.keyid} --add-announcer {MORE[1].keyid}"
    run(f"root rotate @/root {change}")
    status, out, _ = run("root sign @/root --show")
    assert status == 0
    assert f"+ announcing key {MORE[1].keyid}" in out
    assert f"- announcing key {SECOND_ANNOUNCER.keyid}" in out
    assert f"announcing key {ANNOUNCER.keyid}" not in out
    assert "another order" not in out
    assert "unknown" not in out


def test_a_signer_is_shown_another_order_of_the_announcing_keys(run: Run) -> None:
    run(f"{ANNOUNCED} --announcer {SECOND_ANNOUNCER.keyid}")
    run("root rotate @/root --remove-announcer @/announcer --add-announcer @/announcer")
    out = run("root sign @/root --show")[1]
    assert "~ announcing keys in another order" in out


def test_programs_read_the_announcing_keys_of_roots_and_drafts(run: Run) -> None:
    run(ANNOUNCED)
    run(f"root rotate @/root --add-announcer {SECOND_ANNOUNCER.keyid}")
    lines = run("root show @/root --json")[1].splitlines()
    listed = {each["file"]: each["document"]["announcers"] for each in map(json.loads, lines)}
    assert listed == {
        "1.json": [ANNOUNCER.keyid],
        "2.draft.json": [ANNOUNCER.keyid, SECOND_ANNOUNCER.keyid],
    }


FOUR = " ".join(f"--announcer {key.keyid}" for key in (SECOND_ANNOUNCER, *MORE))


@pytest.mark.parametrize(
    ("words", "status", "why"),
    [
        (f"{NEW} --announcer @/root.key", 1, f"{ROOT_KEY.keyid} is a key of the root, which"),
        (f"{NEW} --announcer @/publisher", 1, f"{PUBLISHER.keyid} is a key of channel stable,"),
        (
            f"{ANNOUNCED} --root-key @/announcer",
            1,
            f"{ANNOUNCER.keyid} is a key of the root, which",
        ),
        (f"{ANNOUNCED} --announcer @/announcer", 1, "is named twice for the announcements"),
        (f"{ANNOUNCED} {FOUR}", 1, "Every machine would refuse this root"),
        (f"{NEW} --announcer ed25519:00", 2, "The key 'ed25519:00' cannot be used"),
    ],
)
def test_a_root_with_unusable_announcing_keys_is_not_created(
    run: Run, workdir: Path, words: str, status: int, why: str
) -> None:
    found, out, err = run(words)
    assert (found, out, err.count("\n")) == (status, "", 1)
    assert why in err
    assert not (workdir / "root").exists() or files(workdir) == []


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ("--add-publisher @/announcer", f"{ANNOUNCER.keyid} is a key of channel stable, which"),
        ("--add-root-key @/announcer", f"{ANNOUNCER.keyid} is a key of the root, which"),
        ("--add-announcer @/publisher", f"{PUBLISHER.keyid} is a key of channel stable, which"),
        ("--channel beta --expires +9d --add-publisher @/announcer", "is a key of channel beta"),
        ("--add-announcer @/announcer", "is named twice for the announcements"),
        (f"--remove-announcer {SECOND_ANNOUNCER.keyid}", "is not a key of the announcements"),
    ],
)
def test_a_change_of_announcing_keys_that_cannot_be_is_refused(
    run: Run, workdir: Path, words: str, why: str
) -> None:
    run(ANNOUNCED)
    status, out, err = run(f"{ROTATE} {words}")
    assert (status, out, err.count("\n")) == (1, "", 1)
    assert why in err
    assert files(workdir) == ["1.json"]


def test_a_key_may_announce_once_it_no_longer_publishes(run: Run, workdir: Path) -> None:
    run(NEW)
    words = f"{ROTATE} --remove-publisher @/publisher --add-publisher {SECOND.keyid}"
    assert run(f"{words} --add-announcer @/publisher")[0] == 0
    assert body(workdir, 2)["announcers"] == [PUBLISHER.keyid]
