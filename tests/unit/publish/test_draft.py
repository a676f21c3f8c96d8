"""Releases whose key is on another machine: prepared, signed there, published."""

from __future__ import annotations

import json
import os
import shutil
import stat
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from phase_boot.content.digest import Digest
from phase_boot.drill.sample_manifest import KERNEL, PUBLISHER, ROOTFS, document, encoded, signed
from phase_boot.provider.backends.site_backend import find_offers, open_served
from phase_boot.publish.keys.keyfile import encode_key
from phase_boot.trust.keys import SigningKey
from phase_boot.trust.passphrase_box import Cost
from phase_boot.trust.signatures import Trust
from phase_boot.trust.verify import authenticate
from tests.support.manifests import SECOND
from tests.support.terminal_user import TerminalUser

Run = Callable[..., tuple[int, str, str]]

PREPARE = (
    "publish --channel stable --arch amd64 --kernel @/kernel --initramfs @/initramfs "
    "--rootfs @/rootfs --unsigned --out @/site --expires +30d"
)
DAG = "bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi"
BOTH = Trust(frozenset({PUBLISHER.keyid, SECOND.keyid}), 2)


@pytest.fixture(autouse=True)
def keys(workdir: Path) -> None:
    for name, key in (("one", PUBLISHER), ("two", SECOND)):
        save(workdir / name, encode_key(key, None))


def save(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    path.chmod(0o600)


@pytest.fixture
def draft(run: Run, workdir: Path) -> Path:
    status, out, err = run(f"{PREPARE} --version 5")
    assert (status, err) == (0, "")
    path = workdir / "site/stable/amd64/manifest.unsigned.json"
    assert out == f"{path}\n"
    return path


def published(workdir: Path) -> Path:
    return workdir / "site/stable/amd64/manifest.json"


def signers(path: Path) -> list[str]:
    return [entry["keyid"] for entry in json.loads(path.read_bytes())["signatures"]]


def lasting(**changes: object) -> dict[str, object]:
    return document(**{"expires": "2999-01-01T00:00:00Z", **changes})


def test_two_people_sign_on_two_machines_and_the_site_gets_a_whole_release(
    run: Run, workdir: Path, draft: Path
) -> None:
    shutil.copy(draft, workdir / "stick.json")
    shutil.rmtree(workdir / "site" / "cas")
    assert run("sign @/stick.json --key @/one")[0] == 0
    assert run("sign @/stick.json --key @/two --out @/both.json")[0] == 0
    assert signers(workdir / "stick.json") == [PUBLISHER.keyid]
    run(f"{PREPARE} --version 5")
    status, out, err = run("publish --signed @/both.json --out @/site")
    assert (status, err) == (0, "")
    assert out.startswith(f"{published(workdir)}: version 5, signed by ")
    assert authenticate(published(workdir).read_bytes(), BOTH).manifest.version.text == "5"
    keys = f"--key {PUBLISHER.keyid} --key {SECOND.keyid} --threshold 2"
    assert run(f"verify @/site {keys}")[0] == 0


def test_a_draft_is_not_served(workdir: Path, draft: Path) -> None:
    site = workdir / "site"
    assert draft.exists()
    assert find_offers(site) == frozenset()
    assert open_served(site, "stable/amd64/manifest.unsigned.json") is None
    assert not published(workdir).exists()


def test_a_published_draft_is_cleared_away_and_another_one_is_not(
    run: Run, workdir: Path, draft: Path
) -> None:
    shutil.copy(draft, workdir / "mine.json")
    run("sign @/mine.json --key @/one")
    run(f"{PREPARE} --version 6")
    assert run("publish --signed @/mine.json --out @/site")[0] == 0
    assert json.loads(draft.read_bytes())["version"] == "6"
    assert run(f"sign {draft} --key @/one")[0] == 0
    assert run(f"publish --signed {draft} --out @/site")[0] == 0
    assert not draft.exists()


def test_what_is_signed_is_shown_before_the_passphrase_is_asked(workdir: Path) -> None:
    (workdir / "m.json").write_bytes(signed(lasting(dags={"rootfs": DAG}), SECOND))
    save(workdir / "one", encode_key(PUBLISHER, b"sesame", Cost(1, 8192)))
    with TerminalUser(["sign", str(workdir / "m.json"), "--key", str(workdir / "one")]) as user:
        user.answer("Passphrase of", "sesame")
        assert user.leave() == 0
    shown = user.shown.partition("Passphrase of")[0]
    for fact in (
        "2025.11.12",
        "stable",
        "amd64",
        "2025-11-12T08:00:00Z",
        "2999-01-01T00:00:00Z",
        "'quiet'",
        f"{Digest.of(KERNEL)}, {len(KERNEL)} bytes",
        f"{Digest.of(ROOTFS)}, {len(ROOTFS)} bytes",
        f"as the DAG {DAG}",
        "https://mirror.example/stable/",
        f"{SECOND.keyid} holds",
    ):
        assert fact in shown
    assert set(signers(workdir / "m.json")) == {PUBLISHER.keyid, SECOND.keyid}


def test_showing_signs_nothing_and_needs_no_key(run: Run, workdir: Path) -> None:
    (workdir / "m.json").write_bytes(encoded(lasting()))
    before = (workdir / "m.json").read_bytes()
    status, out, _ = run("sign @/m.json --show")
    assert (status, "2025.11.12" in out) == (0, True)
    assert (workdir / "m.json").read_bytes() == before


def test_a_signed_file_is_world_readable(run: Run, workdir: Path) -> None:
    (workdir / "m.json").write_bytes(encoded(lasting()))
    before = os.umask(0o077)
    try:
        assert run("sign @/m.json --key @/one")[0] == 0
    finally:
        os.umask(before)
    assert stat.S_IMODE((workdir / "m.json").stat().st_mode) == 0o644


def test_signing_again_replaces_the_own_signature(run: Run, workdir: Path) -> None:
    (workdir / "m.json").write_bytes(signed(lasting(), PUBLISHER, SECOND))
    assert run("sign @/m.json --key @/one --key @/one")[0] == 0
    assert sorted(signers(workdir / "m.json")) == sorted(BOTH.keys)


def test_unknown_fields_are_kept_and_signed(run: Run, workdir: Path) -> None:
    (workdir / "m.json").write_bytes(encoded(lasting(later={"a": [1, None, True]})))
    status, out, _ = run("sign @/m.json --key @/one")
    assert (status, "unknown     'later'" in out) == (0, True)
    found = authenticate((workdir / "m.json").read_bytes(), Trust(frozenset({PUBLISHER.keyid}), 1))
    assert found.document["later"] == {"a": [1, None, True]}


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"expires": "2025-11-12T08:00:00Z"}, "not later than issued"),
        ({"arch": "sparc"}, "arch"),
        ({"sizes": None}, "sizes"),
        ({"cmdline": "a\nb"}, "cmdline"),
        ({"expires": "2025-12-12T08:00:00Z"}, "expired"),
        ({"issued": "2998-01-01T00:00:00Z"}, "was issued at 2998"),
    ],
)
def test_a_manifest_that_no_machine_accepts_is_not_signed(
    run: Run, workdir: Path, changes: dict[str, object], why: str
) -> None:
    (workdir / "m.json").write_bytes(encoded(lasting(**changes)))
    before = (workdir / "m.json").read_bytes()
    status, _, err = run("sign @/m.json --key @/one")
    assert (status, why in err, err.count("\n")) == (1, True, 1)
    assert (workdir / "m.json").read_bytes() == before


def test_an_expired_release_is_signed_with_force(run: Run, workdir: Path) -> None:
    (workdir / "m.json").write_bytes(encoded(document()))
    assert run("sign @/m.json --key @/one --force")[0] == 0
    assert signers(workdir / "m.json") == [PUBLISHER.keyid]


@pytest.mark.parametrize("raw", [b"", b"[]", b"{}", b'{"a": 1, "a": 2}', b"x" * 70000])
def test_an_invalid_manifest_is_not_signed(run: Run, workdir: Path, raw: bytes) -> None:
    (workdir / "m.json").write_bytes(raw)
    status, out, err = run("sign @/m.json --key @/one")
    assert (status, out, err.count("\n")) == (1, "", 1)
    assert run("sign @/missing --key @/one")[0] == 1


def test_signatures_beyond_the_limit_are_refused(run: Run, workdir: Path) -> None:
    many = [SigningKey(bytes([number]) * 32) for number in range(100, 132)]
    (workdir / "m.json").write_bytes(signed(lasting(), *many))
    status, _, err = run("sign @/m.json --key @/one")
    assert (status, "more than 32 signatures" in err) == (1, True)


def test_a_signed_draft_is_not_overwritten(run: Run, draft: Path) -> None:
    assert run(f"{PREPARE} --version 6")[0] == 0
    run(f"sign {draft} --key @/one")
    before = draft.read_bytes()
    status, _, err = run(f"{PREPARE} --version 7")
    assert (status, "has signatures" in err) == (1, True)
    assert draft.read_bytes() == before
    assert run(f"{PREPARE} --version 7 --force")[0] == 0


def test_an_invalid_draft_blocks_no_other(run: Run, draft: Path) -> None:
    run(f"sign {draft} --key @/one --out @/mine.json")
    draft.write_text("{")
    assert run("publish --signed @/mine.json --out @/site")[0] == 0
    assert draft.read_text() == "{"
    assert run(f"{PREPARE} --version 6")[0] == 0
    assert json.loads(draft.read_bytes())["version"] == "6"


def test_a_draft_that_no_machine_would_take_is_not_prepared(run: Run, workdir: Path) -> None:
    status, _, err = run(f"{PREPARE} --version 6 --cmdline {'x' * 1025}")
    assert (status, "Every machine would refuse this release" in err) == (1, True)
    assert not (workdir / "site/stable").exists()


def test_half_a_release_is_not_published(run: Run, workdir: Path, draft: Path) -> None:
    run(f"sign {draft} --key @/one")
    entry = workdir / "site" / "cas" / "sha256" / Digest.of(ROOTFS).hex
    words = f"publish --signed {draft} --out @/site"
    entry.write_bytes(ROOTFS[:-1] + b"?")
    assert "rootfs has other bytes in the store" in run(words)[2]
    entry.write_bytes(ROOTFS[:-1])
    assert "rootfs has 5999 bytes" in run(words)[2]
    entry.unlink()
    assert "rootfs is not in" in run(words)[2]
    entry.symlink_to(workdir / "rootfs")
    assert "rootfs is not in" in run(words)[2]
    assert not published(workdir).exists()
    entry.unlink()
    entry.write_bytes(ROOTFS)
    assert run(words)[0] == 0


def test_a_signed_draft_must_be_newer_than_what_is_published(
    run: Run, workdir: Path, draft: Path
) -> None:
    run(f"sign {draft} --key @/one --out @/five.json")
    run(f"{PREPARE} --version 6")
    run(f"sign {draft} --key @/one")
    run(f"publish --signed {draft} --out @/site")
    status, _, err = run("publish --signed @/five.json --out @/site")
    assert (status, "not higher than the published 6" in err) == (1, True)
    assert json.loads(published(workdir).read_bytes())["version"] == "6"
    assert run("publish --signed @/five.json --out @/site --force")[0] == 0


def test_an_unsigned_draft_is_not_published(run: Run, workdir: Path, draft: Path) -> None:
    status, _, err = run(f"publish --signed {draft} --out @/site")
    assert (status, "has no signature" in err) == (1, True)
    assert not published(workdir).exists()


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ("publish --unsigned --out @/site --version 1", "--channel, --arch, --kernel"),
        ("publish --signed @/m.json --out @/site --version 1", "The draft has its own --version"),
        ("publish --signed @/m.json --out @/site --cmdline x", "The draft has its own --cmdline"),
    ],
)
def test_contradictory_options_are_refused(run: Run, words: str, why: str) -> None:
    status, out, err = run(words)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert why in err


@pytest.mark.parametrize("more", ["--key @/one", "--signed @/m.json"])
def test_a_draft_is_not_signed_at_once(run: Run, more: str) -> None:
    with pytest.raises(SystemExit) as stopped:
        run(f"{PREPARE} --version 5 {more}")
    assert stopped.value.code == 2


def test_a_draft_has_the_time_of_its_creation(draft: Path) -> None:
    issued = datetime.fromisoformat(json.loads(draft.read_bytes())["issued"])
    assert issued <= datetime.now(UTC)
