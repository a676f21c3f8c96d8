"""The kernel must be able to carry the seed (SPEC row M1.3)."""

import pytest

from image import kconfig
from phase_boot.content.arch import Arch


def config(*left_out: str) -> str:
    options = {*kconfig.REQUIRED, "KEXEC_FILE"} - set(left_out)
    lines = [f"CONFIG_{option}={'m' if len(option) % 2 else 'y'}" for option in sorted(options)]
    return "\n".join([*lines, *(f"# CONFIG_{option} is not set" for option in left_out), ""])


@pytest.mark.parametrize("arch", list(Arch))
def test_a_kernel_with_every_option_is_accepted(arch: Arch) -> None:
    kconfig.check(config(), arch)


@pytest.mark.parametrize(
    "option", ["KEXEC", "OVERLAY_FS", "WIREGUARD", "FUSE_FS", "SQUASHFS", "DM_VERITY"]
)
@pytest.mark.parametrize("arch", list(Arch))
def test_a_kernel_that_lacks_one_is_refused_by_name(arch: Arch, option: str) -> None:
    with pytest.raises(kconfig.KernelOptionMissing, match=f"CONFIG_{option};"):
        kconfig.check(config(option), arch)


def test_only_amd64_must_have_kexec_file_load() -> None:
    kconfig.check(config("KEXEC_FILE"), Arch.ARM64)
    with pytest.raises(kconfig.KernelOptionMissing, match="CONFIG_KEXEC_FILE"):
        kconfig.check(config("KEXEC_FILE"), Arch.AMD64)


def test_a_value_that_is_neither_built_in_nor_a_module_does_not_count() -> None:
    text = 'CONFIG_KEXEC="y"\nCONFIG_WIREGUARD=n\nCONFIG_TMPFS=y\n'
    assert kconfig.options(text) == {"TMPFS"}
