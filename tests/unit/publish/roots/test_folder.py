"""Roots of a publisher: created, rotated and signed by several keys on several machines."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest

from phase_boot.drill.sample_manifest import PUBLISHER, UNTRUSTED_KEY
from phase_boot.provider.backends.site_backend import open_served
from phase_boot.publish.keys.keyfile import encode_key
from phase_boot.trust.keys import SigningKey
from phase_boot.trust.root import load_trusted, verify_next
from phase_boot.trust.signatures import Trust
from tests.support.manifests import SECOND

Run = Callable[..., tuple[int, str, str]]

A, B, C = (SigningKey(bytes([number]) * 32) for number in (10, 11, 12))
NEW = "root new @/root --channel stable --expires +365d"
ALONE = f"{NEW} --key @/a --publisher @/one"
TWO_OF_THREE = f"{ALONE} --root-key {B.keyid} --root-key @/c --root-threshold 2"
PUBLISH = (
    "publish --channel stable --arch amd64 --kernel @/kernel --initramfs @/initramfs "
    "--rootfs @/rootfs --out @/site --expires +30d"
)


@pytest.fixture(autouse=True)
def keys(workdir: Path) -> None:
    named = {"a": A, "b": B, "c": C, "one": PUBLISHER, "two": SECOND, "stranger": UNTRUSTED_KEY}
    for name, key in named.items():
        (workdir / name).write_bytes(encode_key(key, None))
        (workdir / name).chmod(0o600)


def files(workdir: Path) -> list[str]:
    return sorted(path.name for path in (workdir / "root").iterdir())


def raw(workdir: Path, version: int) -> bytes:
    return (workdir / "root" / f"{version}.json").read_bytes()


def test_one_key_creates_a_root_that_machines_accept(run: Run, workdir: Path) -> None:
    status, out, err = run(ALONE)
    assert (status, out, err) == (0, f"{workdir}/root/1.json: root 1\n", "")
    root = load_trusted(raw(workdir, 1))
    assert root.role == Trust(frozenset({A.keyid}), 1)
    assert root.channels["stable"].trust.keys == {PUBLISHER.keyid}
    assert root.channels["stable"].expires > datetime.fromisoformat("2026-01-01T00:00:00Z")
    assert files(workdir) == ["1.json"]


def test_a_root_is_a_draft_until_a_threshold_signed_it(run: Run, workdir: Path) -> None:
    status, out, _ = run(TWO_OF_THREE)
    assert (status, out) == (0, f"{workdir}/root/1.draft.json: lacks 1 signature(s) of its keys\n")
    assert files(workdir) == ["1.draft.json"]
    status, out, _ = run("root sign @/root --key @/c")
    assert (status, out.splitlines()[-1]) == (0, f"{workdir}/root/1.json: root 1")
    assert files(workdir) == ["1.json"]
    assert load_trusted(raw(workdir, 1)).role.keys == {A.keyid, B.keyid, C.keyid}


def test_a_draft_is_signed_in_a_copy_of_the_folder(run: Run, workdir: Path) -> None:
    run(TWO_OF_THREE)
    shutil.copytree(workdir / "root", workdir / "stick")
    assert run("root sign @/stick/1.draft.json --key @/b")[0] == 0
    shutil.copy(workdir / "stick" / "1.json", workdir / "root")
    status, out, _ = run("root show @/root")
    assert status == 0
    assert "1.json is trusted as given" in out
    assert "1.draft.json is left over from root 1: remove it." in out
    assert run("root rotate @/root --expires +400d --key @/a")[0] == 0


def test_a_rotation_needs_the_old_keys_and_the_new_ones(run: Run, workdir: Path) -> None:
    run(ALONE)
    words = "root rotate @/root --add-root-key @/b --remove-root-key @/a"
    status, out, _ = run(words)
    assert (status, "lacks 1 signature(s) of the keys of root 1 and 1 of its own" in out) == (
        0,
        True,
    )
    assert (
        "lacks 1 signature(s) of the keys of root 1 and 0" in run("root sign @/root --key @/b")[1]
    )
    assert files(workdir) == ["1.json", "2.draft.json"]
    assert run("root sign @/root --key @/a")[0] == 0
    assert files(workdir) == ["1.json", "2.json"]
    assert verify_next(load_trusted(raw(workdir, 1)), raw(workdir, 2)).role.keys == {B.keyid}


def test_a_signer_is_shown_the_changes(run: Run, workdir: Path) -> None:
    run(ALONE)
    run(
        f"root rotate @/root --add-publisher {UNTRUSTED_KEY.keyid} --remove-publisher @/one "
        "--add-publisher @/two --threshold 2 --add-root-key @/b --root-threshold 2 --expires +9d"
    )
    status, out, _ = run("root sign @/root --show")
    assert status == 0
    for line in (
        f"+ key of the root {B.keyid}",
        "~ 2 must sign for the root, was 1",
        f"+ key of channel stable {UNTRUSTED_KEY.keyid}",
        f"- key of channel stable {PUBLISHER.keyid}",
        "~ 2 must sign for channel stable, was 1",
        "~ channel stable until 20",
        "The oldest root in",
    ):
        assert line in out
    assert files(workdir) == ["1.json", "2.draft.json"]


def test_channels_are_added_and_removed(run: Run, workdir: Path) -> None:
    run(ALONE)
    add = "root rotate @/root --channel nightly --add-publisher @/two --key @/a"
    assert "--expires" in run(add)[2]
    assert run(f"{add} --expires +30d")[0] == 0
    assert sorted(load_trusted(raw(workdir, 2)).channels) == ["nightly", "stable"]
    status, _, err = run("root rotate @/root --threshold 1 --add-publisher @/two --key @/a")
    assert (status, "name one with --channel" in err) == (2, True)
    assert run("root rotate @/root --remove-channel stable --key @/a")[0] == 0
    assert sorted(load_trusted(raw(workdir, 3)).channels) == ["nightly"]
    assert "- channel stable" not in run("root show @/root")[1]
    assert "keep one" in run("root rotate @/root --remove-channel nightly --key @/a")[2]


def test_unknown_fields_of_a_root_are_kept(run: Run, workdir: Path) -> None:
    run(ALONE)
    body = json.loads(raw(workdir, 1))
    del body["signatures"]
    body["later"] = ["\x1b"]
    (workdir / "root" / "1.json").unlink()
    (workdir / "root" / "1.draft.json").write_text(json.dumps(body))
    status, out, _ = run("root sign @/root --key @/a")
    assert (status, "unknown     'later'" in out, "\x1b" in out) == (0, True, False)
    run("root rotate @/root --expires +9d --key @/a")
    assert json.loads(raw(workdir, 2))["later"] == ["\x1b"]


@pytest.mark.parametrize(
    ("words", "status", "why"),
    [
        (f"{NEW} --key @/a --publisher @/one --threshold 2", 1, "can never make 2 signatures"),
        (f"{NEW} --key @/a --publisher @/one --threshold 0", 1, "can never make 0 signatures"),
        (f"{ALONE} --root-threshold 2", 1, "1 key(s) of the root can never make 2"),
        (f"{ALONE} --root-key @/a", 1, "is named twice for the root"),
        (f"{ALONE} --publisher @/one", 1, "is named twice for channel stable"),
        (f"{ALONE} --publisher ed25519:00", 2, "The key 'ed25519:00' cannot be used"),
        (f"{ALONE} --publisher @/missing", 1, "missing cannot be read"),
        (f"{ALONE} --channel Stable", 2, "--channel 'Stable'"),
        (f"{ALONE} --expires 2020-01-01T00:00:00Z", 1, "is past"),
        (f"{ALONE} --expires never", 2, "--expires 'never'"),
        ("root rotate @/root --expires +1d --key @/a", 1, "root cannot be read"),
        ("root show @/root", 1, "root does not exist"),
        ("root sign @/root --show", 1, "is not a draft"),
    ],
)
def test_a_root_without_the_publishers_key_is_not_created(
    run: Run, workdir: Path, words: str, status: int, why: str
) -> None:
    found, out, err = run(words)
    assert (found, out, err.count("\n")) == (status, "", 1)
    assert why in err
    assert not (workdir / "root").exists()


@pytest.mark.parametrize(
    ("words", "status", "why"),
    [
        (ALONE, 1, "a root is never overwritten"),
        ("root rotate @/root --remove-publisher @/one", 1, "without a key, forever"),
        ("root rotate @/root --remove-root-key @/a", 1, "without a key, forever"),
        ("root rotate @/root --remove-publisher @/two", 1, "is not a key of channel stable"),
        ("root rotate @/root --add-publisher @/one", 1, "named twice for channel stable"),
        ("root rotate @/root --threshold 3 --add-publisher @/two", 1, "never make 3"),
        ("root rotate @/root --root-threshold 9", 1, "never make 9"),
        ("root rotate @/root", 1, "name a change"),
        ("root rotate @/root --root-threshold 1", 1, "name a change"),
        ("root rotate @/root --remove-channel beta", 1, "no channel beta"),
        ("root rotate @/root --expires 2020-01-01T00:00:00Z", 1, "is past"),
        ("root rotate @/root --add-publisher @/two --key @/two", 1, "is not a root key of 2"),
        ("root sign @/root --key @/a", 1, "has no draft"),
        ("root sign @/root/1.json --key @/a", 1, "is not a draft"),
        ("root show @/root/7.json", 1, "7.json does not exist"),
        ("root show @/one", 1, "is not a root"),
    ],
)
def test_a_change_that_removes_the_publishers_key_is_refused(
    run: Run, workdir: Path, words: str, status: int, why: str
) -> None:
    run(ALONE)
    before = raw(workdir, 1)
    found, out, err = run(words)
    assert (found, out, err.count("\n")) == (status, "", 1)
    assert why in err
    assert files(workdir) == ["1.json"]
    assert raw(workdir, 1) == before


def test_an_open_draft_is_not_overwritten(run: Run, workdir: Path) -> None:
    run(TWO_OF_THREE)
    assert "1.draft.json is open" in run(ALONE)[2]
    run("root sign @/root --key @/b")
    run("root rotate @/root --add-publisher @/two --key @/a")
    before = (workdir / "root" / "2.draft.json").read_bytes()
    status, _, err = run("root rotate @/root --expires +9d")
    assert (status, "2.draft.json is open" in err) == (1, True)
    assert (workdir / "root" / "2.draft.json").read_bytes() == before
    assert run("root rotate @/root --expires +9d --force")[0] == 0
    assert (workdir / "root" / "2.draft.json").read_bytes() != before


def test_the_chain_is_shown_with_who_signed_and_what_is_missing(run: Run) -> None:
    run(TWO_OF_THREE)
    run("root sign @/root --key @/b")
    run("root rotate @/root --add-publisher @/two --key @/c")
    status, out, err = run("root show @/root")
    assert (status, err) == (0, "")
    assert out.index("1.json is trusted as given") < out.index("2.draft.json is a draft")
    assert f"{A.keyid} signed" in out
    assert "2 of 3 must sign it" in out
    assert "lacks 1 signature(s) of the keys of root 1 and 1 of its own" in out
    assert run("root show @/root/1.json")[1] == out[: out.index("2.draft.json")]
    assert run("root show @/root/2.draft.json")[1] == out[out.index("2.draft.json") :]


def test_a_draft_of_a_root_is_not_served(run: Run, workdir: Path) -> None:
    run(TWO_OF_THREE.replace("@/root ", "@/site/root "))
    assert open_served(workdir / "site", "root/1.draft.json") is None
    run("root sign @/site/root --key @/b")
    served = open_served(workdir / "site", "root/1.json")
    assert served is not None
    with served.file as file:
        file.seek(0)
        assert load_trusted(file.read()).version == 1


def rooted(run: Run) -> None:
    assert run(ALONE.replace("@/root ", "@/site/root "))[0] == 0


def test_a_site_with_roots_is_checked_by_them(run: Run, workdir: Path) -> None:
    rooted(run)
    run(f"{PUBLISH} --version 1 --key @/one")
    status, out, err = run("verify @/site")
    assert (status, err) == (0, "")
    assert out.startswith("ok  root/1.json: trusted as given")
    shutil.copy(workdir / "site/root/1.json", workdir / "mine.json")
    run("root rotate @/site/root --remove-publisher @/one --add-publisher @/two --key @/a")
    status, out, _ = run("verify @/site --root @/mine.json")
    assert (status, "signature.untrusted" in out) == (1, True)
    run(f"{PUBLISH} --version 2 --key @/two")
    assert run("verify @/site --root @/mine.json")[0] == 0
    assert run("verify @/site/stable/amd64/manifest.json --root @/site/root/2.json")[0] == 0
    assert run("verify @/site/stable/amd64/manifest.json --root @/mine.json")[0] == 1


def test_a_site_of_another_root_chain_is_refused(run: Run, workdir: Path) -> None:
    rooted(run)
    run(f"{PUBLISH} --version 1 --key @/one")
    run(ALONE.replace("@/a", "@/b").replace("@/root", "@/mine"))
    status, out, _ = run("verify @/site --root @/mine/1.json")
    assert (status, "it is not the root that is trusted" in out) == (1, True)
    (workdir / "site/root/1.json").unlink()
    assert run("verify @/site")[0] == 1


@pytest.mark.parametrize(
    "words", ["verify @/site --threshold 1", "verify @/kernel", "verify @/site --threshold 2"]
)
def test_checking_by_roots_has_no_threshold_of_its_own(run: Run, words: str) -> None:
    rooted(run)
    status, out, err = run(words)
    assert (status, out, "Name trusted keys with --key" in err) == (2, "", True)


def test_a_site_without_a_root_is_not_checked_by_one(run: Run, workdir: Path) -> None:
    (workdir / "site" / "root").mkdir(parents=True)
    status, out, _ = run("verify @/site")
    assert (status, "has no root" in out) == (1, True)
    assert "has no root" in run("root show @/site/root")[2]


def test_an_expired_root_blocks_publishing(run: Run, workdir: Path) -> None:
    rooted(run)
    run(f"{PUBLISH} --version 1 --key @/one")
    status, out, _ = run("verify @/site --now 2999-01-01T00:00:00Z")
    assert (status, "root.expired" in out or "expired" in out) == (1, True)
    words = PUBLISH.replace("+30d", "2999-06-01T00:00:00Z --issued 2999-01-01T00:00:00Z")
    assert "ahead of this machine's clock" in run(f"{words} --version 2 --key @/one")[2]
    status, _, err = run(f"{words} --version 2 --key @/one --force")
    assert (status, "will refuse this" in err) == (0, True)
    assert (workdir / "site/stable/amd64/manifest.json").exists()


def test_publishing_warns_which_machines_refuse_it(run: Run, workdir: Path) -> None:
    rooted(run)
    manifest = workdir / "site/stable/amd64/manifest.json"
    run("root rotate @/site/root --remove-publisher @/one --add-publisher @/two --key @/a")
    status, _, err = run(f"{PUBLISH} --version 1 --key @/one")
    assert (status, "will refuse this" in err) == (0, True)
    before = manifest.read_bytes()
    status, _, err = run(f"{PUBLISH} --version 2 --key @/stranger")
    assert (status, "Every machine that follows" in err) == (1, True)
    assert manifest.read_bytes() == before
    assert run(f"{PUBLISH} --version 2 --key @/stranger --force")[0] == 0
    assert run(f"{PUBLISH} --version 3 --key @/two")[2] == ""
    nightly = PUBLISH.replace("stable", "nightly")
    assert "nightly" in run(f"{nightly} --version 1 --key @/two")[2]


def test_a_signed_draft_is_checked_by_the_roots_too(run: Run, workdir: Path) -> None:
    rooted(run)
    draft = run(f"{PUBLISH} --version 1 --unsigned")[1].strip()
    run(f"sign {draft} --key @/stranger")
    status, _, err = run(f"publish --signed {draft} --out @/site")
    assert (status, "Every machine that follows" in err) == (1, True)
    assert not (workdir / "site/stable/amd64/manifest.json").exists()
    run(f"sign {draft} --key @/one")
    assert run(f"publish --signed {draft} --out @/site")[2] == ""


def test_publishing_warns_of_invalid_roots(run: Run, workdir: Path) -> None:
    rooted(run)
    (workdir / "site/root/2.json").write_text("{}")
    assert "2.json is not followed" in run(f"{PUBLISH} --version 1 --key @/one")[2]
    (workdir / "site/root/1.json").write_text("{}")
    assert "has no root" in run(f"{PUBLISH} --version 2 --key @/one")[2]
    assert run("root show @/site/root")[0] == 1


def test_programs_read_the_roots_as_one_object_a_line(run: Run, workdir: Path) -> None:
    run(ALONE)
    run("root rotate @/root --expires +400d --key @/a --add-root-key @/b --root-threshold 2")
    status, out, _ = run("root show @/root --json")
    listed = {each["file"]: each for each in map(json.loads, out.splitlines())}
    assert status == 0
    assert listed["1.json"]["trusted_as_given"] is True
    assert listed["1.json"]["signers"] == [A.keyid]
    assert listed["1.json"]["digest"] == str(load_trusted(raw(workdir, 1)).digest)
    assert "signatures" not in listed["1.json"]["document"]
    assert listed["2.draft.json"]["lacks"] == {"previous": 0, "own": 1}
    (workdir / "root" / "2.json").write_bytes(b"{")
    status, out, _ = run("root show @/root --json")
    listed = {each["file"]: each for each in map(json.loads, out.splitlines())}
    assert status == 1
    assert listed["2.json"]["fault"]
    assert "left over" in listed["2.draft.json"]["fault"]
