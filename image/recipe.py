"""What an image is made of: every name, number and list that a build may vary."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from image.build_cache import ROOT
from image.kernel_modules import patterns
from image.platforms import PLATFORMS, Platform
from phase_boot.content.arch import Arch
from policies.model import Shell
from policies.write import SHIPPED_SHELL, RootFile, StaticKeys

SUITE: Final = "trixie"
"""Debian 13."""
BASE_FILES: Final = ROOT / "image" / "base"
PYTHON_FILES: Final = ROOT / "image" / "python"
SEED_FILES: Final = ROOT / "image" / "seed"
BENCH_FILES: Final = ROOT / "image" / "bench" / "seed"
TARGET_FILES: Final = ROOT / "image" / "target"
INTERPRETER: Final = ("python3.13-minimal", "libpython3.13-stdlib")
SEED_PACKAGES: Final = (
    *INTERPRETER,
    "busybox-static",
    "kexec-tools",
    "kmod",
    "libgcc-s1",
    "libstdc++6",
    "mount",
    "netbase",
    "systemd",
    "systemd-boot-efi",
    "udev",
)
CERTIFICATES: Final = ("ca-certificates",)
MIB: Final = 1024 * 1024
CACHE_MIB: Final = 512

NO_PUBLISHERS: Final = StaticKeys(())


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustConfig:
    """Whom the seed of an image trusts, and where it looks.

    Attributes:
        publishers: a root, or keys; the example target asks nobody.
        channel: the channel to follow.
        urls: manifest URLs that are known beforehand.
        gateways: base URLs of trustless gateways of IPFS.
        authorities: certificates in PEM that HTTPS servers may have theirs from, besides Debian's.
        shell: what a person at the console may do, and whether the machine tries again by itself.
    """

    publishers: StaticKeys | RootFile = NO_PUBLISHERS
    channel: str = "stable"
    urls: tuple[str, ...] = ()
    gateways: tuple[str, ...] = ()
    authorities: str = ""
    shell: Shell = SHIPPED_SHELL


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """One image to build.

    Attributes:
        arch: the architecture.
        trust: what goes into the policies.
        esp_mib: size of the loader's partition; room for a second kernel is meant.
        cache_mib: size of Cache; it is sparse in the image file.
        menu_seconds: how long the loader's menu stays.
        measured: carry the script that boots are measured beside. It believes whatever a mirror
            says, so such a stick is for the bench and nothing else.
    """

    arch: Arch
    trust: TrustConfig = TrustConfig()
    esp_mib: int = 256
    cache_mib: int = CACHE_MIB
    menu_seconds: int = 3
    measured: bool = False

    @property
    def platform(self) -> Platform:
        """The architecture's facts."""
        return PLATFORMS[self.arch]

    @property
    def own_files(self) -> tuple[Path, ...]:
        """The folders of the repository that go into the seed's root."""
        own = (PYTHON_FILES, SEED_FILES)
        return (*own, BENCH_FILES) if self.measured else own

    @property
    def options(self) -> str:
        """The kernel command line that the three entries share."""
        consoles = f"console=tty0 console={self.platform.serial},115200"
        # The kernel's self-tests of its ciphers take a second under emulation.
        return f"{consoles} quiet loglevel=3 net.ifnames=0 panic=30 cryptomgr.notests"


def list_of(path: Path) -> tuple[str, ...]:
    """Return the patterns that a list file holds."""
    return patterns(path.read_text(encoding="utf-8"))


def version() -> str:
    """Return the project's version, as pyproject.toml has it."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        return str(tomllib.load(file)["project"]["version"])
