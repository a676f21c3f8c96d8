"""Choosing kernel modules."""

import lzma
from pathlib import Path, PurePosixPath

from image import kernel_modules
from image.pattern_list import parse_patterns

NET = PurePosixPath("drivers/net/ethernet/intel/e1000e/e1000e.ko.xz")
PTP = PurePosixPath("drivers/ptp/ptp.ko.xz")
PPS = PurePosixPath("drivers/pps/pps_core.ko.xz")
GPU = PurePosixPath("drivers/gpu/drm/i915/i915.ko.xz")
CRC = PurePosixPath("arch/x86/crypto/crc32c-intel.ko.xz")
ALL = (NET, PTP, PPS, GPU, CRC)


def test_a_folder_adds_the_modules_below_it_only() -> None:
    assert kernel_modules.matching(ALL, ["drivers/net/ethernet/"]) == [NET]


def test_a_module_is_named_without_its_suffix() -> None:
    assert kernel_modules.matching(ALL, ["drivers/ptp/ptp", "arch/*/crypto/crc32c*"]) == [CRC, PTP]


def test_a_later_exclamation_mark_takes_away() -> None:
    assert kernel_modules.matching(ALL, ["drivers/", "!drivers/gpu/"]) == [NET, PPS, PTP]


def test_indirect_module_dependencies_are_included() -> None:
    needs = {NET: ["ptp", "built_in"], PTP: ["pps_core"]}
    by_name = {kernel_modules.module_name(path): path for path in ALL}
    found = kernel_modules.closure([NET], by_name, lambda path: needs.get(path, []))
    assert found == [NET, PPS, PTP]


def test_modules_that_need_each_other_end() -> None:
    by_name = {"ptp": PTP, "pps_core": PPS}
    both = {PTP: ["pps_core"], PPS: ["ptp"]}
    assert kernel_modules.closure([PTP], by_name, lambda path: both[path]) == [PPS, PTP]


def test_hard_and_soft_needs_are_read_from_the_module_itself() -> None:
    info = b"\0license=GPL\0depends=ptp,mii-core\0softdep=pre: crc32c nls_ascii post: x\0"
    assert kernel_modules.dependencies_of(info) == ("ptp", "mii_core", "crc32c", "nls_ascii")


def test_a_module_that_needs_nothing_needs_nothing() -> None:
    assert kernel_modules.dependencies_of(b"\0depends=\0") == ()


def test_modules_for_a_fast_boot_are_decompressed_with_their_dependencies(
    tmp_path: Path,
) -> None:
    texts = {NET: b"\0depends=ptp\0", PTP: b"\0depends=\0", GPU: b"", CRC: b"\0depends=\0"}
    for path, text in texts.items():
        file = tmp_path / path
        file.parent.mkdir(parents=True)
        file.write_bytes(lzma.compress(text))
    chosen = kernel_modules.select(tmp_path, ["drivers/net/", "arch/"], ["drivers/net/*"])
    assert chosen == {
        PurePosixPath("drivers/net/ethernet/intel/e1000e/e1000e.ko"): texts[NET],
        PurePosixPath("drivers/ptp/ptp.ko"): texts[PTP],
        CRC: lzma.compress(texts[CRC]),
    }


def test_a_list_has_comments_and_blank_lines() -> None:
    assert parse_patterns("# a\n\nfs/squashfs/  # b\n") == ("fs/squashfs/",)
