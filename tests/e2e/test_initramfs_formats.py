"""The kernel itself finds what is appended to an initramfs, however that was packed."""

from __future__ import annotations

from pathlib import Path

import pytest

from phase_boot.content.arch import Arch
from phase_boot.handoff.cpio import Entry, archive
from phase_boot.handoff.initrd import Initrd
from tests.e2e.bare_kernel import CONSOLE, console_of, with_init
from tests.support.boot_images import Published
from tests.support.boot_payloads import fetched
from tests.support.boots import AMD64
from tests.support.compressors import COMPRESSORS, packed

pytestmark = pytest.mark.e2e_all

SHOW = """
for each in /theirs/* /ours/*; do echo "found $each: $(cat $each)"; done
cat /phase/handoff.json
"""


def handed_over(initramfs: bytes, document: bytes) -> bytes:
    initrd = Initrd(initramfs=fetched("initramfs", initramfs), document=document, rootfs=None)
    return b"".join(p if isinstance(p, bytes) else p.read(1 << 28) for p in initrd.parts())


def chain(published: Published) -> bytes:
    """Return what the hand-over makes of one archive for each compression, one after the other.

    Each is made as for a boot of its own; that all of them are found needs every gap to be right.
    """
    raw = handed_over(published.artifact("initramfs").read_bytes(), b"from the target's own\n")
    for compression in COMPRESSORS:
        theirs = [Entry.folder("theirs"), Entry.file(f"theirs/{compression}", b"their bytes\n")]
        raw += handed_over(packed(compression, archive(theirs)), compression.encode())
        raw += archive([Entry.folder("ours"), Entry.file(f"ours/after-{compression}", b"ours\n")])
    return raw


@AMD64
def test_one_kernel_unpacks_every_compression_and_what_is_behind_it(
    arch: Arch, published: Published, tmp_path: Path
) -> None:
    assert arch is published.arch
    initrd = tmp_path / "initrd"
    initrd.write_bytes(with_init(chain(published), SHOW))
    console_output = console_of(published, initrd, f"{CONSOLE} quiet")
    assert "unpacking failed" not in console_output
    for compression in COMPRESSORS:
        assert f"found /theirs/{compression}: their bytes" in console_output
        assert f"found /ours/after-{compression}: ours" in console_output
    # The last document is the one that stays.
    assert f"\n{list(COMPRESSORS)[-1]}the end" in console_output
