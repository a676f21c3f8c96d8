"""Kernel parameters after which memory of the seed would not be wiped (ADR 0007).

`init_on_free=1` zeroes a page when it is given to the page allocator. It cannot reach memory that
never gets there: what is beyond a limit, what is reserved before the allocator starts
(memblock), and what an early pool takes. The names are those of Linux 5.3 to 6.18
(Documentation/admin-guide/kernel-parameters.txt), with `_` for `-`.

Not among them, because their memory is zeroed or passes through the page allocator: `hugepages=`
of ordinary huge pages, `kernelcore=`, `movablecore=`, `numa=`, `swiotlb=`, `log_buf_len=`, the hash
tables' `*hash_entries=`, `memtest=` and `memory_corruption_check=`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

Value = str | None

LARGEST_HUGE_PAGE: Final = 2 * 1024 * 1024
"""Bytes of the largest huge page that comes from the page allocator in every configuration."""
RAW: Final = ("crashkernel=",)
"""Found by `strstr` over the whole line (kernel/crash_reserve.c), whatever surrounds it."""
SETS_WIPING: Final = frozenset({"init_on_alloc", "init_on_free", "page_poison"})
"""Parameters about wiping, which the hand-over replaces by its own.

`page_poison` takes precedence over `init_on_free` (mm/mm_init.c).
"""

_SIZE: Final = re.compile(r"([1-9][0-9]{0,9})([KM]?)", re.IGNORECASE)
_UNITS: Final[Mapping[str, int]] = MappingProxyType({"": 1, "K": 1 << 10, "M": 1 << 20})


def _always(_value: Value) -> bool:
    return True


def _is_gigantic(value: Value) -> bool:
    """Say whether a pool of pages of this size may be reserved before the allocator starts."""
    found = _SIZE.fullmatch(value or "")
    return not found or int(found[1]) * _UNITS[found[2].upper()] > LARGEST_HUGE_PAGE


def _holds(option: str) -> Callable[[Value], bool]:
    return lambda value: option in (value or "")


_BY_NAME: Final = (
    # Limits and maps of memory.
    "mem",
    "memmap",
    "efi_fake_mem",
    "enable_mtrr_cleanup",
    "mtrr_chunk_size",
    "mtrr_gran_size",
    # Reservations before the page allocator starts.
    "crashkernel",
    "reserve_mem",
    "reservelow",
    "kho",
    "kho_scratch",
    "liveupdate",
    # Contiguous areas, which early users take pages of.
    "cma",
    "cma_pernuma",
    "numa_cma",
    "hugetlb_cma",
    "hugetlb_cma_only",
    # Any memory called an initrd, and kept.
    "initrd",
    "initrdmem",
    "retain_initrd",
    "keepinitrd",
)

KEEPS_MEMORY: Final[Mapping[str, Callable[[Value], bool]]] = MappingProxyType(
    {
        **dict.fromkeys(_BY_NAME, _always),
        "hugepagesz": _is_gigantic,
        "default_hugepagesz": _is_gigantic,
        # An aperture over RAM (arch/x86/kernel/aperture_64.c).
        "iommu": _holds("memaper"),
        # The protected hypervisor's own memory (arch/arm64/kvm/pkvm.c).
        "kvm_arm.mode": _holds("protected"),
    }
)
"""By name: whether the parameter, with this value, keeps memory from being wiped."""
