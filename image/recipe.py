"""Ingredients of an image: every name, number and list that a build may vary."""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from image.platforms import PLATFORMS, Platform
from image.repository import ROOT
from image.trust_config import DEFAULT_TRUST, TrustConfig
from phase_boot.content.arch import Arch

SUITE: Final = "trixie"
"""Debian 13."""
BASE_FILES: Final = ROOT / "image" / "base"
PYTHON_FILES: Final = ROOT / "image" / "python"
SEED_FILES: Final = ROOT / "image" / "seed"
BENCH_FILES: Final = ROOT / "image" / "bench" / "seed"
TARGET_FILES: Final = ROOT / "image" / "target"
DEVICES: Final = ROOT / "image" / "initramfs" / "devices.sh"
"""The shell functions that the init scripts of the seed and of the target share."""
LOCK: Final = ROOT / "uv.lock"
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
UNUSED_BY_LIBP2P: Final = (
    *("aioquic", "blake3", "cbor2", "certifi", "charset-normalizer", "coincurve", "dnspython"),
    *("fastecdsa", "grpcio", "h11", "httpcore", "httpx", "importlib-metadata", "lazy-importer"),
    *("lru-dict", "miniupnpc", "mmh3", "mypy-protobuf", "packaging"),
    *("prometheus-client", "psutil", "pycryptodome", "pylsqpack", "pyopenssl", "python-baseconv"),
    "requests",
    *("rpcudp", "service-identity", "trio-websocket", "types-protobuf", "types-requests"),
    *("u-msgpack-python", "urllib3", "varint", "wsproto", "zipp"),
)
"""Packages that libp2p names and the seed's process does not import (`libp2p_node.unused_modules`).

python-baseconv and varint have no wheels, so no root could have them.
"""
SEED_WHEELS: Final = tuple(
    word for name in ("tomlkit", *UNUSED_BY_LIBP2P) for word in ("--prune", name)
)
"""Options of `uv export` for the seed: tomlkit writes policies, and the seed only reads them."""
TARGET_WHEELS: Final = (
    *("--extra", "plasma"),
    *("--prune", "prompt-toolkit", "--prune", "structlog", "--prune", "tomlkit"),
    *("--prune", "transitions", "--prune", "libp2p"),
)
"""The same for the target: Plasma's and the provider's wheels, without the daemon's others."""
MIB: Final = 1024 * 1024
CACHE_MIB: Final = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """One image to build.

    Attributes:
        arch: the architecture.
        trust: what goes into the policies.
        esp_mib: size of the ESP, with room for a second kernel.
        cache_mib: size of Cache; it is sparse in the image file.
        menu_seconds: how long the loader's menu waits.
        measured: include the reference script of the boot benchmark. It boots what a mirror
            offers without verifying it, so such a stick is for the benchmark alone.
    """

    arch: Arch
    trust: TrustConfig = DEFAULT_TRUST
    esp_mib: int = 256
    cache_mib: int = CACHE_MIB
    menu_seconds: int = 3
    measured: bool = False

    @property
    def platform(self) -> Platform:
        """The facts of the architecture."""
        return PLATFORMS[self.arch]

    @property
    def seed_sources(self) -> tuple[Path, ...]:
        """The folders of the repository that go into the seed's root."""
        sources = (BASE_FILES, PYTHON_FILES, SEED_FILES)
        return (*sources, BENCH_FILES) if self.measured else sources

    @property
    def options(self) -> str:
        """The kernel command line that the three entries share."""
        consoles = f"console=tty0 console={self.platform.serial},115200"
        # The kernel's self-tests of its ciphers take a second under emulation.
        return f"{consoles} quiet loglevel=3 net.ifnames=0 panic=30 cryptomgr.notests"


def project() -> dict[str, Any]:
    """Return the `project` table of pyproject.toml."""
    table: dict[str, Any] = _pyproject()["project"]
    return table


def dependencies() -> str:
    """Return what `uv export` reads of pyproject.toml, as text."""
    names = ("requires-python", "dependencies", "optional-dependencies")
    tables = {name: project().get(name) for name in names}
    return json.dumps([tables, _pyproject().get("tool", {}).get("uv")], sort_keys=True)


def version() -> str:
    """Return the project's version."""
    return str(project()["version"])


def _pyproject() -> dict[str, Any]:
    with (ROOT / "pyproject.toml").open("rb") as file:
        return tomllib.load(file)
