from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from image.lab.accel import choose_accel
from image.lab.qemu_args import Accel
from phase_boot.content.arch import Arch


@dataclass
class FakeHost:
    machine: str = "x86_64"
    boot: str = "boot-1"
    closed: str = ""
    trouble: str = ""
    probes: list[Arch] = field(default_factory=list)

    def arch(self) -> str:
        return self.machine

    def boot_id(self) -> str:
        return self.boot

    def why_no_kvm(self) -> str:
        return self.closed

    def probe(self, arch: Arch, kernel: Path) -> str:
        assert kernel.exists()
        self.probes.append(arch)
        return self.trouble


@pytest.fixture
def kernel(tmp_path: Path) -> Path:
    path = tmp_path / "kernel"
    path.write_bytes(b"kernel")
    return path


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "build" / "accel.json"


def test_kvm_is_chosen_where_the_probe_boot_works(kernel: Path, cache: Path) -> None:
    host = FakeHost()
    assert (
        choose_accel(Arch.AMD64, kernel, request="auto", host=host, cache=cache).accel is Accel.KVM
    )
    assert host.probes == [Arch.AMD64]


def test_a_kvm_that_hangs_is_not_chosen(kernel: Path, cache: Path) -> None:
    verdict = choose_accel(
        Arch.AMD64,
        kernel,
        request="auto",
        host=FakeHost(trouble="it did not end within 20 s"),
        cache=cache,
    )
    assert verdict.accel is Accel.TCG
    assert "did not end within 20 s" in verdict.reason


def test_a_closed_kvm_is_not_probed(kernel: Path, cache: Path) -> None:
    host = FakeHost(closed="/dev/kvm does not open: Permission denied")
    verdict = choose_accel(Arch.AMD64, kernel, request="auto", host=host, cache=cache)
    assert verdict.accel is Accel.TCG
    assert "Permission denied" in verdict.reason
    assert host.probes == []


@pytest.mark.parametrize(
    ("machine", "arch"),
    [("x86_64", Arch.ARM64), ("aarch64", Arch.AMD64), ("riscv64", Arch.ARM64)],
)
def test_a_foreign_guest_is_never_probed(
    kernel: Path, cache: Path, machine: str, arch: Arch
) -> None:
    host = FakeHost(machine=machine)
    assert choose_accel(arch, kernel, request="auto", host=host, cache=cache).accel is Accel.TCG
    assert host.probes == []


def test_a_probe_result_is_valid_for_one_boot_of_the_host_and_one_kernel(
    kernel: Path, cache: Path
) -> None:
    host = FakeHost(trouble="it did not end within 20 s")
    for _ in range(2):
        choose_accel(Arch.AMD64, kernel, request="auto", host=host, cache=cache)
    assert len(host.probes) == 1
    host.boot = "boot-2"
    choose_accel(Arch.AMD64, kernel, request="auto", host=host, cache=cache)
    assert len(host.probes) == 2
    kernel.write_bytes(b"another")
    choose_accel(Arch.AMD64, kernel, request="auto", host=host, cache=cache)
    assert len(host.probes) == 3


def test_an_invalid_cache_of_probe_results_is_ignored(kernel: Path, cache: Path) -> None:
    cache.parent.mkdir()
    cache.write_text("[not json")
    host = FakeHost()
    assert (
        choose_accel(Arch.AMD64, kernel, request="auto", host=host, cache=cache).accel is Accel.KVM
    )


@pytest.mark.parametrize("wish", ["kvm", "tcg"])
def test_a_requested_accelerator_is_used_without_a_probe(
    kernel: Path, cache: Path, wish: str
) -> None:
    host = FakeHost()
    assert choose_accel(Arch.AMD64, kernel, request=wish, host=host, cache=cache).accel == wish
    assert host.probes == []


def test_an_unknown_accelerator_is_refused_by_name(kernel: Path, cache: Path) -> None:
    with pytest.raises(ValueError, match="'xen'; set it to auto, kvm or tcg"):
        choose_accel(Arch.AMD64, kernel, request="xen", host=FakeHost(), cache=cache)
