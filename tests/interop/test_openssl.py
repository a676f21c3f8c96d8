"""openssl and sha256sum agree with what `phase-boot publish` signed, without any code of ours."""

from __future__ import annotations

import base64
import json
import subprocess
from pathlib import Path

import pytest

from phase_boot.cli import main
from tests.fakes.manifests import INITRAMFS, KERNEL, ROOTFS
from tests.interop.peers import needed

pytestmark = pytest.mark.interop

# SubjectPublicKeyInfo of an ed25519 key (RFC 8410), up to the 32 bytes of the key itself.
SPKI = bytes.fromhex("302a300506032b6570032100")


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    words = "publish --channel stable --arch amd64 --version 1.2 --expires +30d"
    for name, data in (("kernel", KERNEL), ("initramfs", INITRAMFS), ("rootfs", ROOTFS)):
        (tmp_path / name).write_bytes(data)
        words += f" --{name} {tmp_path / name}"
    assert main(["key", "new", str(tmp_path / "key")]) == 0
    words += f" --key {tmp_path / 'key'} --out {tmp_path / 'site'}"
    assert main([*words.split(), "--cmdline", 'quiet "caf" \\ /']) == 0
    return tmp_path / "site" / "stable" / "amd64" / "manifest.json"


def openssl_verifies(folder: Path, fields: dict[str, object], entry: dict[str, str]) -> bool:
    """Check one signature as somebody with openssl and a JSON tool would."""
    # For ASCII text and whole numbers RFC 8785 is sorted keys without spaces.
    body = json.dumps(fields, sort_keys=True, separators=(",", ":"))
    (folder / "message").write_bytes(b"phase-boot-manifest-v1\n" + body.encode())
    (folder / "sig").write_bytes(base64.b64decode(entry["sig"]))
    key = SPKI + bytes.fromhex(entry["keyid"].removeprefix("ed25519:"))
    (folder / "key.der").write_bytes(key)
    command = [
        needed("openssl", "openssl"), "pkeyutl", "-verify", "-pubin", "-keyform", "DER",
        "-inkey", str(folder / "key.der"), "-rawin", "-in", str(folder / "message"),
        "-sigfile", str(folder / "sig"),
    ]  # fmt: skip
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


def test_openssl_verifies_our_signature(manifest: Path, tmp_path: Path) -> None:
    fields = json.loads(manifest.read_bytes())
    entry = fields.pop("signatures")[0]
    assert openssl_verifies(tmp_path, fields, entry)
    assert not openssl_verifies(tmp_path, {**fields, "cmdline": "init=/bin/sh"}, entry)


def test_sha256sum_agrees_with_the_names_of_the_store(manifest: Path) -> None:
    store = manifest.parents[2] / "cas" / "sha256"
    names = sorted(path.name for path in store.iterdir())
    assert len(names) == 3
    command = [needed("sha256sum", "coreutils"), *names]
    printed = subprocess.run(command, cwd=store, check=True, capture_output=True, text=True).stdout
    assert printed.splitlines() == [f"{name}  {name}" for name in names]
