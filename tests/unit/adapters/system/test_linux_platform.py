"""The facts of a machine, read from /proc, /sys and /etc below a folder of the test."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from phase_boot.adapters.system.linux_platform import LOADER_GUID, LinuxPlatform
from phase_boot.drill.sample_manifest import PUBLISHER
from phase_boot.machine.errors import NotConfigured
from policies.model import Mode
from policies.write import StaticKeys, render_policy


def machine(root: Path, *, cmdline: str = "quiet phase.mode=local") -> Path:
    """Return a root in which a seed of every mode was just booted."""
    files = {
        "proc/cmdline": cmdline + "\n",
        "proc/meminfo": "MemTotal: 999999 kB\nMemAvailable:     2048 kB\n",
        "proc/self/stat": "1 (phase) boot) S " + " ".join(["0"] * 18) + " 750 0 0",
        "etc/phase-boot/built": "2026-01-02T03:04:05Z\n",
        "run/phase-boot/stages": "initramfs 3.50\nswitch-root 4.25\nbad line\n\x1b[2J oops\n",
    }
    for mode in Mode:
        files[f"etc/phase-boot/{mode}.toml"] = render_policy(
            mode, trust=StaticKeys((PUBLISHER.keyid,)), channel="stable"
        )
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def loader_time(root: Path, name: str, microseconds: int) -> None:
    path = root / f"sys/firmware/efi/efivars/{name}-{LOADER_GUID}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\x06\0\0\0" + f"{microseconds}\0".encode("utf-16-le"))


async def test_the_boot_menu_chooses_the_mode_and_its_policy(tmp_path: Path) -> None:
    platform = LinuxPlatform(root=machine(tmp_path))
    facts = await platform.facts()
    assert (facts.mode, facts.url) == ("local", None)
    assert facts.built == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert (await platform.policy(facts.mode)).mode is Mode.LOCAL


async def test_the_first_of_two_modes_counts(tmp_path: Path) -> None:
    """A loader can only append to the command line, so what comes later cannot loosen it."""
    root = machine(tmp_path, cmdline="phase.mode=private phase.mode=internet phase.url=http://x/")
    facts = await LinuxPlatform(root=root).facts()
    assert (facts.mode, facts.url) == ("private", "http://x/")


async def test_the_command_line_is_read_by_the_kernels_grammar(tmp_path: Path) -> None:
    line = (
        'x="a phase.mode=internet" "phase.mode=private" phase.url="http://x/" -- phase.mode=local'
    )
    facts = await LinuxPlatform(root=machine(tmp_path, cmdline=line)).facts()
    assert (facts.mode, facts.url) == ("private", "http://x/")


@pytest.mark.parametrize("mode", ["", "trusting", "../internet"])
async def test_an_unknown_mode_is_refused(mode: str, tmp_path: Path) -> None:
    root = machine(tmp_path, cmdline=f"phase.mode={mode or '?'}")
    with pytest.raises(NotConfigured, match="is no mode"):
        await LinuxPlatform(root=root).facts()


async def test_a_policy_of_another_mode_is_refused(tmp_path: Path) -> None:
    root = machine(tmp_path)
    etc = root / "etc/phase-boot"
    (etc / "private.toml").write_text((etc / "internet.toml").read_text())
    with pytest.raises(NotConfigured, match="is a policy of mode internet, not private"):
        await LinuxPlatform(root=root).policy("private")


async def test_the_stages_before_the_daemon_are_listed_in_order(tmp_path: Path) -> None:
    root = machine(tmp_path)
    loader_time(root, "LoaderTimeInitUSec", 5_000_000)
    loader_time(root, "LoaderTimeExecUSec", 6_500_000)
    facts = await LinuxPlatform(root=root).facts()
    assert facts.stages == (
        ("firmware", -6.5),
        ("loader", -1.5),
        ("kernel", 0.0),
        ("initramfs", 3.5),
        ("switch-root", 4.25),
        ("daemon", 7.5),
    )


async def test_invalid_firmware_values_are_left_out(tmp_path: Path) -> None:
    root = machine(tmp_path)
    loader_time(root, "LoaderTimeInitUSec", 9)
    loader_time(root, "LoaderTimeExecUSec", 3)
    facts = await LinuxPlatform(root=root).facts()
    assert facts.stages[0] == ("kernel", 0.0)


async def test_available_memory_is_read_from_the_kernel(tmp_path: Path) -> None:
    platform = LinuxPlatform(root=machine(tmp_path))
    assert platform.memory_available() == 2 << 20
    assert platform.rss_peak() > 1 << 20


def write(root: Path, name: str, raw: bytes) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(raw)


async def test_the_model_name_comes_from_the_firmware(tmp_path: Path) -> None:
    root = machine(tmp_path)
    assert (await LinuxPlatform(root=root).facts()).model is None
    write(root, "proc/device-tree/model", b"Raspberry Pi 4 Model B Rev 1.4\0")
    assert (await LinuxPlatform(root=root).facts()).model == "Raspberry Pi 4 Model B Rev 1.4"
    write(root, "sys/class/dmi/id/sys_vendor", b"ACME \n")
    write(root, "sys/class/dmi/id/product_name", b"Boot-o-matic 9000\n")
    assert (await LinuxPlatform(root=root).facts()).model == "ACME Boot-o-matic 9000"


async def test_a_name_of_the_firmware_is_short_and_printable(tmp_path: Path) -> None:
    root = machine(tmp_path)
    write(root, "sys/class/dmi/id/product_name", b"\x1b[2J\xff" + b"A" * 5000)
    model = (await LinuxPlatform(root=root).facts()).model
    assert model is not None
    assert len(model) <= 121
    assert model.isprintable()
