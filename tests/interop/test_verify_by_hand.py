"""docs/verify-by-hand.md: openssl, jq and coreutils agree with us, without any code of ours."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from phase_boot.cli.main import main
from phase_boot.drill.sample_manifest import INITRAMFS, KERNEL, ROOTFS, document, signed
from phase_boot.drill.sample_root import signed_root
from phase_boot.trust.keys import SigningKey
from tests.support.required_programs import needed

pytestmark = pytest.mark.interop

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = (ROOT / "docs" / "verify-by-hand.md").read_text()
BLOCKS: Final = re.findall(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
WORDS: Final = "".join(BLOCKS[:5])
"""The blocks that only define what the others use."""
MANIFEST: Final = "stable/amd64/manifest.json"
CASES: Final[list[dict[str, Any]]] = json.loads(
    (ROOT / "tests" / "vectors" / "trust.json").read_text()
)["cases"]
BEYOND_JQ: Final = {
    "manifest: controls in escapes",
    "manifest: needless escapes",
    "manifest: names sorted by UTF-16",
}
"""What the page says jq spells differently."""


def run(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    for program, package in (("openssl", "openssl"), ("jq", "jq"), ("xxd", "xxd")):
        needed(program, package)
    scratch = folder / ".scratch"
    scratch.mkdir(exist_ok=True)
    return subprocess.run(
        ["sh", "-c", script],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "TMPDIR": str(scratch)},
        check=False,
        capture_output=True,
        text=True,
    )


def by_hand(folder: Path) -> bool:
    """Run every command of the page in one shell."""
    return run("".join(BLOCKS), folder).returncode == 0


def key(number: int) -> SigningKey:
    return SigningKey(bytes([number]) * 32)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SITE with two roots; two of three publishers sign, and two root keys."""
    home = tmp_path_factory.mktemp("publisher")
    for name, data in (("kernel", KERNEL), ("initramfs", INITRAMFS), ("rootfs", ROOTFS)):
        (home / name).write_bytes(data)
    keys = [f"{home}/key{number}" for number in range(7)]
    site = home / "site"
    assert [main(["key", "new", path]) for path in keys] == [0] * 7
    new = f"root new {site}/root --key {keys[0]} --key {keys[1]} --root-threshold 2"
    new += f" --channel stable --publisher {keys[3]} --publisher {keys[4]} --threshold 2"
    assert main([*new.split(), "--expires", "+365d"]) == 0
    rotate = f"root rotate {site}/root --add-root-key {keys[2]} --remove-root-key {keys[0]}"
    rotate += f" --add-publisher {keys[5]} --key {keys[0]} --key {keys[1]} --key {keys[2]}"
    assert main(rotate.split()) == 0
    publish = f"publish --channel stable --arch amd64 --version 1.2 --out {site}"
    publish += f" --kernel {home}/kernel --initramfs {home}/initramfs --rootfs {home}/rootfs"
    publish += f" --key {keys[3]} --key {keys[5]} --mirror https://mirror.example/"
    assert main([*publish.split(), "--expires", "+30d", "--cmdline", 'quiet "caf" \\ /']) == 0
    return site


@pytest.fixture
def site(published: Path, tmp_path: Path) -> Path:
    shutil.copytree(published, tmp_path / "site")
    return tmp_path / "site"


def test_the_page_verifies_a_published_site(site: Path) -> None:
    done = run("".join(BLOCKS), site)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(": OK") == 3
    assert len(re.findall(r"^ed25519:[0-9a-f]{64}$", done.stdout, re.MULTILINE)) == 2
    assert done.stdout.endswith("All of it is as the publishers signed it.\n")


def replaced(path: str, old: bytes, new: bytes) -> Callable[[Path], None]:
    def change(site: Path) -> None:
        raw = (site / path).read_bytes()
        assert old in raw
        (site / path).write_bytes(raw.replace(old, new, 1))

    return change


def one_signature_less(path: str) -> Callable[[Path], None]:
    def change(site: Path) -> None:
        whole = json.loads((site / path).read_bytes())
        whole["signatures"].pop()
        (site / path).write_text(json.dumps(whole))

    return change


def one_signature_twice(path: str) -> Callable[[Path], None]:
    def change(site: Path) -> None:
        whole = json.loads((site / path).read_bytes())
        whole["signatures"][1:] = whole["signatures"][:1]
        (site / path).write_text(json.dumps(whole))

    return change


def artifact_changed(site: Path) -> None:
    entry = next(path for path in (site / "cas/sha256").iterdir() if path.read_bytes() == KERNEL)
    entry.write_bytes(KERNEL.upper())


def artifact_gone(site: Path) -> None:
    next((site / "cas/sha256").iterdir()).unlink()


def root_skipped(site: Path) -> None:
    (site / "root/2.json").unlink()
    (site / "root/1.json").replace(site / "root/2.json")
    (site / "root/1.json").symlink_to("2.json")


def root_of_a_stranger(site: Path) -> None:
    body = json.loads((site / "root/2.json").read_bytes())
    body |= {"root": {"keys": [key(9).keyid], "threshold": 1}}
    body.pop("signatures")
    (site / "root/2.json").write_bytes(signed_root(body, key(9)))


def key_that_was_not_yet_trusted(site: Path) -> None:
    (site / "root/2.json").unlink()


@pytest.mark.parametrize(
    "change",
    [
        replaced(MANIFEST, b'"1.2"', b'"1.3"'),
        replaced(MANIFEST, b'"version"', b'"version": "1.3", "version"'),
        replaced(MANIFEST, b"stable", b"steble"),
        one_signature_less(MANIFEST),
        one_signature_twice(MANIFEST),
        artifact_changed,
        artifact_gone,
        replaced("root/1.json", b"stable", b"steble"),
        one_signature_less("root/1.json"),
        replaced("root/2.json", b'"threshold": 2', b'"threshold": 1'),
        replaced("root/2.json", b'"threshold": 2', b'"threshold": 0'),
        root_skipped,
        root_of_a_stranger,
        key_that_was_not_yet_trusted,
    ],
    ids=[
        "version changed",
        "a name twice",
        "channel changed",
        "one signature of two",
        "one signature twice",
        "artifact changed",
        "artifact gone",
        "first root changed",
        "first root with one signature of two",
        "second root asks for less",
        "second root asks for nothing",
        "second root is no successor",
        "second root by a stranger",
        "signed by a key of a root that is not there",
    ],
)
def test_the_page_rejects_changed_documents(change: Callable[[Path], None], site: Path) -> None:
    change(site)
    assert not by_hand(site)


@pytest.mark.parametrize(
    ("delegation", "dates", "verdict"),
    [
        ("2999-01-01T00:00:00Z", {"expires": "2999-01-01T00:00:00Z"}, True),
        ("2025-01-01T00:00:00Z", {"expires": "2999-01-01T00:00:00Z"}, False),
        ("2999-01-01T00:00:00Z", {"expires": "2025-11-13T00:00:00Z"}, False),
        (
            "2999-01-01T00:00:00Z",
            {"issued": "2990-01-01T00:00:00Z", "expires": "2999-01-01T00:00:00Z"},
            False,
        ),
    ],
    ids=["current", "delegation expired", "manifest expired", "issued in the future"],
)
def test_the_page_checks_dates(
    delegation: str, dates: dict[str, str], *, verdict: bool, site: Path
) -> None:
    publisher = {"keys": [key(1).keyid], "threshold": 1, "expires": delegation}
    role = {"keys": [key(2).keyid], "threshold": 1}
    root = {"version": 1, "root": role, "channels": {"stable": publisher}}
    (site / "root/2.json").unlink()
    (site / "root/1.json").write_bytes(signed_root(root, key(2)))
    (site / MANIFEST).write_bytes(signed(document(**dates), key(1)))
    assert by_hand(site) is verdict


GOOD_MANIFESTS: Final = [
    case
    for case in CASES
    if (case["kind"], case["verdict"]) == ("manifest", "ok") and "keys" in case["trusted"]
]


@pytest.mark.parametrize("case", GOOD_MANIFESTS, ids=lambda case: case["name"])
def test_jq_writes_the_signed_bytes_of_all_but_two_kinds_of_text(
    case: dict[str, Any], tmp_path: Path
) -> None:
    raw = base64.b64decode(case["document"]) + b" " * case.get("spaces", 0)
    (tmp_path / "manifest").write_bytes(raw)
    keys = " ".join(case["trusted"]["keys"])
    threshold = case["trusted"]["threshold"]
    judged = (
        f"{WORDS}printf '%s\\n' {keys} >$work/keys; threshold={threshold}; plain manifest; "
        "enough phase-boot-manifest-v1 manifest"
    )
    assert (run(judged, tmp_path).returncode == 0) is (case["name"] not in BEYOND_JQ)


def test_openssl_takes_a_small_order_key_that_we_refuse(tmp_path: Path) -> None:
    """So the vector is what it claims to be; the page says that a stick is stricter here."""
    (weak,) = (case for case in CASES if case["name"].endswith("small order and R is not"))
    (tmp_path / "manifest").write_bytes(base64.b64decode(weak["document"]))
    judged = (
        f"{WORDS}echo {weak['trusted']['keys'][0]} >$work/keys; threshold=1; "
        "enough phase-boot-manifest-v1 manifest"
    )
    assert run(judged, tmp_path).returncode == 0


def test_sha256sum_agrees_with_the_names_of_the_store(site: Path) -> None:
    store = site / "cas" / "sha256"
    names = sorted(path.name for path in store.iterdir())
    assert len(names) == 3
    command = [needed("sha256sum", "coreutils"), *names]
    printed = subprocess.run(command, cwd=store, check=True, capture_output=True, text=True).stdout
    assert printed.splitlines() == [f"{name}  {name}" for name in names]
