"""A real kernel reads what the hand-over makes of a signed command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from phase_boot.content.arch import Arch
from phase_boot.handoff.cmdline import WIPES_MEMORY, for_target, parameter_against_wiping
from tests.e2e.bare_kernel import CONSOLE, console_of, with_init
from tests.support.boot_images import Published
from tests.support.boots import AMD64

pytestmark = pytest.mark.e2e_all

SHOW = "busybox dmesg | grep -e 'mem auto-init' -e 'crashkernel reserved'"
WIPED, UNWIPED = "heap free:on", "heap free:off"
HOSTILE = (
    f"{CONSOLE} -- quiet",
    f'{CONSOLE} init-on-free=off "init_on_free=0" page_poison=1 dyndbg="file a.c +p',
)


def seen(published: Published, folder: Path, cmdline: str) -> str:
    initrd = folder / "initrd"
    initrd.write_bytes(with_init(published.artifact("initramfs").read_bytes(), SHOW))
    return console_of(published, initrd, cmdline)


@AMD64
@pytest.mark.parametrize("signed", HOSTILE)
def test_the_kernel_wipes_whatever_was_signed(
    arch: Arch, signed: str, published: Published, tmp_path: Path
) -> None:
    rootfs = str(published.manifest.artifacts["rootfs"].digest)
    line = for_target(signed, mode="private", version="1", rootfs=rootfs)
    assert WIPED in seen(published, tmp_path, line), arch
    # The same words behind the signed line do not reach the kernel, or are undone by it.
    assert UNWIPED in seen(published, tmp_path, f"{signed} {WIPES_MEMORY}")


@AMD64
def test_a_kernel_finds_a_reservation_inside_quotes_and_after_the_end_of_its_parameters(
    arch: Arch, published: Published, tmp_path: Path
) -> None:
    signed = f'{CONSOLE} -- x="a b.crashkernel=32M c"'
    assert "crashkernel reserved" in seen(published, tmp_path, signed), arch
    assert parameter_against_wiping(signed) == "`crashkernel=`"
