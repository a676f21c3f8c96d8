"""Confinement: a child loses its rights, and a right that remains is an error."""

from __future__ import annotations

import json
import os
import resource
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from phase_boot.sandbox.process import (
    NOBODY,
    Confinement,
    NotConfined,
    check_confined,
    confine,
    keep_descriptors,
    spawn,
)

AS_ROOT = os.geteuid() == 0
FEW = {resource.RLIMIT_NOFILE: (32, 32), resource.RLIMIT_CPU: (5, 6)}


def reported(look: Callable[[], object]) -> object:
    """Return what ``look`` returns in a child, or the text of its OSError."""
    read, write = os.pipe()

    def body() -> None:
        # The test process may have more descriptors open than a limit of a test allows.
        keep_descriptors((0, 1, 2, write))
        try:
            found = look()
        except OSError as error:
            found = str(error)
        os.write(write, json.dumps(found).encode())

    child = spawn(body)
    os.close(write)
    with os.fdopen(read, "rb") as file:
        raw = file.read()
    assert os.waitpid(child.pid, 0)[1] == 0
    return json.loads(raw)


def status_after(confinement: Confinement) -> dict[str, str]:
    def look() -> dict[str, str]:
        confine(confinement)
        lines = Path("/proc/self/status").read_text().splitlines()
        return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}

    found = reported(look)
    assert isinstance(found, dict), found
    return found


@pytest.mark.parametrize("network", [True, False])
@pytest.mark.parametrize("traceable", [True, False])
def test_a_confined_process_has_no_capabilities_and_gets_none(
    *, network: bool, traceable: bool
) -> None:
    found = status_after(Confinement(network=network, traceable=traceable))
    assert found["NoNewPrivs"] == "1"
    assert {int(found[kind], 16) for kind in ("CapInh", "CapPrm", "CapEff", "CapAmb")} == {0}


@pytest.mark.skipif(not AS_ROOT, reason="only root can take another user")
def test_root_becomes_another_user_without_groups() -> None:
    found = status_after(Confinement(user=NOBODY, limits=FEW))
    assert set(found["Uid"].split() + found["Gid"].split()) == {str(NOBODY)}
    assert found["Groups"] == ""


@pytest.mark.skipif(not AS_ROOT, reason="only root has files that it cannot read without rights")
def test_root_without_capabilities_reads_only_its_own_files(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("x")
    secret.chmod(0o600)
    os.chown(secret, NOBODY, NOBODY)

    def look() -> bool:
        confine(Confinement())
        return os.access(secret, os.R_OK)

    assert reported(look) is False


@pytest.mark.parametrize(
    ("missing", "reason"),
    [
        (Confinement(), "no_new_privs is not set"),
        (Confinement(limits=FEW), "resource limit"),
        (Confinement(user=NOBODY - 1), "user or group ids are kept"),
    ],
)
def test_a_right_that_is_still_there_is_an_error(missing: Confinement, reason: str) -> None:
    with pytest.raises(NotConfined, match=reason):
        check_confined(missing)


def test_a_restriction_that_was_not_applied_is_detected() -> None:
    def look() -> None:
        confine(Confinement())
        check_confined(Confinement())
        check_confined(Confinement(traceable=False))

    assert reported(look) == "it can be traced"


def open_descriptors() -> list[int]:
    return [fd for fd in range(64) if os.path.lexists(f"/proc/self/fd/{fd}")]


@pytest.mark.parametrize("kept", [[], [0], [0, 1, 2], [1, 2], [2]])
def test_only_the_named_descriptors_stay_open(kept: list[int]) -> None:
    read, write = os.pipe()

    def body() -> None:
        os.dup2(write, 40)
        keep_descriptors([*kept, 40])
        os.write(40, json.dumps(open_descriptors()).encode())

    child = spawn(body)
    os.close(write)
    with os.fdopen(read, "rb") as file:
        assert json.loads(file.read()) == [*kept, 40]
    child.stop()


def test_a_child_that_raises_exits_with_1_and_runs_no_exit_handler_of_its_parent() -> None:
    def fail() -> None:
        raise ValueError

    assert os.waitstatus_to_exitcode(os.waitpid(spawn(fail).pid, 0)[1]) == 1


def test_a_child_is_killed_when_its_parent_exits() -> None:
    read, write = os.pipe()

    def parent() -> None:
        def sleep() -> None:
            confine(Confinement())
            os.write(write, str(os.getpid()).encode())
            time.sleep(60)

        spawn(sleep)
        time.sleep(60)

    middle = spawn(parent)
    assert int(os.read(read, 20)) not in {0, middle.pid}
    os.close(write)
    middle.stop()
    # The last writer is gone once the kernel has killed the child.
    assert os.read(read, 1) == b""
    os.close(read)


def test_stopping_a_child_twice_is_no_error() -> None:
    child = spawn(lambda: signal.pause())  # noqa: PLW0108 - the stub of pause returns None
    child.stop()
    child.stop()
