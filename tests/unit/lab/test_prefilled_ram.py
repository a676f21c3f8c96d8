"""The search for surviving pages finds those with their pattern, and no others."""

from __future__ import annotations

from image.lab.prefilled_ram import PAGE, address_ranges, prefilled
from image.lab.qemu_args import Hardware
from phase_boot.content.arch import Arch


def test_pages_survive_until_they_are_overwritten() -> None:
    with prefilled(Hardware(arch=Arch.AMD64, memory=2)) as (hardware, ram):
        assert "memory-backend=ram" in hardware.extra
        assert ram.path.stat().st_size == 2 << 20
        assert ram.surviving_pages() == tuple(range(512))
        with ram.path.open("r+b") as file:
            file.seek(3 * PAGE)
            file.write(bytes(PAGE))
            # A page with 16 remaining bytes counts; a page that was copied elsewhere does not.
            file.seek(5 * PAGE)
            file.write(bytes(PAGE - 16))
            file.seek(300 * PAGE)
            content = ram.path.read_bytes()
            file.write(content[301 * PAGE : 302 * PAGE])
        assert ram.surviving_pages() == tuple(n for n in range(512) if n not in {3, 300})
    assert not ram.path.exists()


def test_pages_are_returned_as_address_ranges() -> None:
    assert address_ranges(()) == []
    assert address_ranges((0, 1, 2, 7)) == [(0, 3 * PAGE), (7 * PAGE, 8 * PAGE)]
