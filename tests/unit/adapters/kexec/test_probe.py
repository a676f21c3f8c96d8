"""The running kernel's kexec support, read before anything is loaded."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from phase_boot.adapters.kexec.probe import support
from phase_boot.ports.kexec import KexecSupport, Method


def machine(root: Path, *, lockdown: str = "none", disabled: str = "0") -> Path:
    (root / "sys/kernel/security").mkdir(parents=True)
    modes = [f"[{mode}]" if mode == lockdown else mode for mode in ("none", "integrity")]
    (root / "sys/kernel/security/lockdown").write_text(" ".join(modes) + "\n")
    (root / "proc/sys/kernel").mkdir(parents=True)
    (root / "proc/sys/kernel/kexec_load_disabled").write_text(disabled + "\n")
    return root


def has(*calls: Method, says: int = errno.EINVAL) -> dict[Method, int]:
    return {method: says if method in calls else errno.ENOSYS for method in Method}


def test_of_both_kexec_calls_the_one_that_checks_signatures_is_first(
    tmp_path: Path,
) -> None:
    found = support(machine(tmp_path), has(*Method).__getitem__)
    assert found == KexecSupport(methods=(Method.FILE, Method.SEGMENTS))


def test_a_call_that_the_kernel_does_not_have_is_not_tried(tmp_path: Path) -> None:
    found = support(machine(tmp_path), has(Method.SEGMENTS).__getitem__)
    assert found == KexecSupport(methods=(Method.SEGMENTS,))


def test_a_kernel_that_is_locked_down_takes_signed_files_only(tmp_path: Path) -> None:
    found = support(machine(tmp_path, lockdown="integrity"), has(*Method).__getitem__)
    assert found.methods == (Method.FILE,)
    assert found.forbidden == ("kexec_load: the running kernel is locked down (integrity)",)


def test_a_kernel_that_is_locked_down_and_takes_no_files_takes_nothing(tmp_path: Path) -> None:
    found = support(machine(tmp_path, lockdown="integrity"), has(Method.SEGMENTS).__getitem__)
    assert found.methods == ()
    assert len(found.forbidden) == 1


def test_disabled_kexec_is_reported_once_for_both_calls(tmp_path: Path) -> None:
    found = support(machine(tmp_path, disabled="1"), has(*Method).__getitem__)
    assert found.methods == ()
    (reason,) = found.forbidden
    assert "kernel.kexec_load_disabled" in reason


def test_a_kernel_without_kexec_is_named(tmp_path: Path) -> None:
    assert support(machine(tmp_path), has().__getitem__) == KexecSupport(
        (), ("the running kernel has no kexec",)
    )


def test_a_kernel_without_lockdown_is_not_locked_down(tmp_path: Path) -> None:
    assert support(tmp_path, has(*Method).__getitem__).methods == tuple(Method)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may load kernels, and is answered otherwise")
def test_the_running_kernel_refuses_kexec_to_users_other_than_root() -> None:
    found = support()
    assert found.methods == ()
    assert found.forbidden
