"""Take the kernel out of Debian's package: check it, choose its modules, unpack them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from image import kconfig, kernel_modules
from image.errors import BuildError
from image.tools import Tool, run
from phase_boot.content.arch import Arch

COMPRESSED: Final = {
    b"\x1f\x8b": "gzip",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"MZ\0\0zimg": "zboot",
}
"""First bytes of compressed kernels, which kexec on arm64 does not load."""


class UnsupportedKernelFormat(BuildError):
    """A kernel in a format that kexec does not load; the text names the format."""


def kernel_release(packages: Path) -> str:
    """Return the release of the one kernel in ``packages``."""
    (folder,) = (packages / "usr/lib/modules").iterdir()
    return folder.name


def extract_kernel(packages: Path, arch: Arch, out: Path) -> None:
    """Copy the kernel of ``packages`` to the folder ``out``, as `vmlinuz` and `release`.

    Raises:
        kconfig.KernelOptionMissing: Its configuration lacks an option that the seed needs.
        UnsupportedKernelFormat: kexec cannot load it.
    """
    release = kernel_release(packages)
    config = (packages / f"boot/config-{release}").read_text(encoding="utf-8")
    kconfig.check(config, arch)
    image = (packages / f"boot/vmlinuz-{release}").read_bytes()
    check_uncompressed(image, arch)
    out.mkdir()
    (out / "vmlinuz").write_bytes(image)
    (out / "release").write_text(release, encoding="utf-8")


def check_uncompressed(image: bytes, arch: Arch) -> None:
    """Refuse an arm64 kernel that is not a plain `Image`; a bzImage of amd64 unpacks itself.

    Raises:
        UnsupportedKernelFormat: It is compressed.
    """
    if arch is Arch.AMD64:
        return
    for magic, name in COMPRESSED.items():
        if image.startswith(magic):
            raise UnsupportedKernelFormat(
                f"the arm64 kernel is {name}-compressed; kexec loads a plain Image only"
            )


def install_modules(
    packages: Path, wanted: Iterable[str], uncompressed: Iterable[str], out: Path
) -> None:
    """Write the modules that ``wanted`` names into a root at ``out``, with depmod's indexes.

    Modules that ``uncompressed`` names are written unpacked.
    """
    release = kernel_release(packages)
    source = packages / "usr/lib/modules" / release
    folder = out / "usr/lib/modules" / release
    folder.mkdir(parents=True)
    # depmod of some hosts looks below /lib, of others below /usr/lib.
    (out / "lib").symlink_to("usr/lib")
    for name in ("modules.builtin", "modules.builtin.modinfo", "modules.order"):
        (folder / name).write_bytes((source / name).read_bytes())
    for path, data in kernel_modules.select(source / "kernel", wanted, uncompressed).items():
        file = folder / "kernel" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    run(Tool.DEPMOD, "-b", out, "-F", packages / f"boot/System.map-{release}", release)
    (out / "lib").unlink()
