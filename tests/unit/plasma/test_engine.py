"""Each behaviour of a module has an outcome, and the next job runs unaffected."""

from __future__ import annotations

from pathlib import Path

import pytest

from phase_boot.plasma.engine import assemble, plain, run, runtime
from phase_boot.trust.receipt import Outcome
from tests.support import wasm_modules as modules
from tests.support.wasm_modules import doing, exiting, flooding, job_of, opening, run_of


@pytest.mark.parametrize("status", [0, 1, 7, 125])
def test_a_job_that_exits_has_its_status(status: int) -> None:
    ended = run_of(exiting(status))
    assert (ended.outcome, ended.exit, ended.reason) == (Outcome.EXITED, status, "")
    assert ended.fuel > 0
    assert ended.memory_bytes == 65536
    assert ended.wall_us > 0
    assert ended.cpu_us > 0


def test_a_job_that_returns_exited_with_0() -> None:
    assert (run_of(modules.NOTHING).outcome, run_of(modules.NOTHING).exit) == (Outcome.EXITED, 0)


def test_a_status_that_wasi_does_not_know_is_no_exit() -> None:
    ended = run_of(exiting(200))
    assert (ended.outcome, ended.exit) == (Outcome.TRAPPED, None)
    assert "invalid exit status" in ended.reason


@pytest.mark.parametrize("module", [modules.ENDLESS, modules.ENDLESS_EARLY], ids=["run", "start"])
def test_an_endless_loop_runs_out_of_fuel(module: bytes) -> None:
    ended = run_of(module, fuel=1_000_000)
    assert (ended.outcome, ended.exit, ended.fuel) == (Outcome.OUT_OF_FUEL, None, 1_000_000)
    assert ended.reason == "it used all of its fuel"


def test_fuel_is_the_same_every_time() -> None:
    assert len({run_of(modules.GROWING).fuel for _ in range(3)}) == 1


@pytest.mark.parametrize("module", [modules.ENDLESS, modules.SLEEPING], ids=["loop", "sleep"])
def test_a_job_is_ended_at_its_wall_time(module: bytes) -> None:
    ended = run_of(module, fuel=10**12, wall_ms=400)
    assert (ended.outcome, ended.exit) == (Outcome.OUT_OF_TIME, None)
    assert ended.reason == "it took longer than its 400 ms"


def test_compiling_counts_as_time_of_the_job() -> None:
    ended = run_of(modules.compiling_long(), wall_ms=50)
    assert ended.outcome is Outcome.OUT_OF_TIME
    assert ended.reason == "compiling it took longer than its 50 ms"


@pytest.mark.parametrize("fd", [1, 2])
def test_a_flood_is_cut_at_the_limit(fd: int) -> None:
    ended = run_of(flooding(fd), output_kib=10)
    assert (ended.outcome, ended.exit) == (Outcome.TOO_MUCH_OUTPUT, None)
    assert ended.reason == "it wrote more than its 10 KiB"
    assert (len(ended.stdout), len(ended.stderr)) == ((10240, 0) if fd == 1 else (0, 10240))


def test_output_up_to_the_limit_is_no_flood() -> None:
    vector = r'(data (i32.const 0) "\10\00\00\00\00\04\00\00")'
    once = "(drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))"
    ended = run_of(doing(once, vector), output_kib=1)
    assert (ended.outcome, len(ended.stdout)) == (Outcome.EXITED, 1024)


def test_a_job_that_grows_to_all_its_memory_and_fails_is_out_of_memory() -> None:
    ended = run_of(modules.GROWING, memory_mib=3)
    assert (ended.outcome, ended.memory_bytes) == (Outcome.OUT_OF_MEMORY, 3 * 2**20)
    assert ended.reason == "it used all of its 3 MiB of memory"


def test_a_module_that_wants_more_memory_than_its_job_has_is_never_started() -> None:
    ended = run_of(modules.HUGE)
    assert ended.outcome is Outcome.OUT_OF_MEMORY
    assert ended.reason == "memory minimum size of 65536 pages exceeds memory limits"
    assert run_of(modules.WIDE).outcome is Outcome.OUT_OF_MEMORY


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        (modules.TRAPPING, "wasm `unreachable` instruction executed"),
        (modules.TRAPPING_EARLY, "wasm `unreachable` instruction executed"),
        (modules.RECURSING, "call stack exhausted"),
        (doing("(drop (i32.load (i32.const -1)))"), "out of bounds memory access"),
        (doing("(drop (i32.div_u (i32.const 1) (i32.const 0)))"), "integer divide by zero"),
    ],
    ids=["unreachable", "before its start", "recursion", "bounds", "division"],
)
def test_a_trap_is_reported(module: bytes, reason: str) -> None:
    ended = run_of(module)
    assert (ended.outcome, ended.exit, ended.reason) == (Outcome.TRAPPED, None, reason)


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        (b"", "not a WebAssembly module"),
        (b"#!/bin/sh\n", "not a WebAssembly module"),
        (b"(module)", "not a WebAssembly module"),
        (b"\0asm\x0d\0\x01\0", "a component; only modules of WASI preview 1 are supported"),
        (b"\0asm\x01\0\0\0\x05", "unexpected end-of-file (at offset 0x9)"),
        (modules.LACKING, r"unknown import: `env::\x1b[2Jx` has not been defined"),
        (modules.WITHOUT_START, "it exports no function _start without parameters"),
        (modules.STARTING_ODDLY, "it exports no function _start without parameters"),
    ],
    ids=["empty", "script", "text", "component", "cut", "import", "no start", "odd start"],
)
def test_an_invalid_module_is_unusable(module: bytes, reason: str) -> None:
    ended = run(job_of(b"x"), module, {}, user=None)
    assert ended.outcome is Outcome.UNUSABLE_MODULE
    assert ended.reason == reason


def test_features_beyond_the_limits_are_disabled() -> None:
    ended = run_of(modules.TWO_MEMORIES)
    assert ended.outcome is Outcome.UNUSABLE_MODULE
    assert "multiple memories" in ended.reason


def test_a_granted_folder_can_be_read_and_not_written(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    granted = tmp_path / "granted"
    granted.mkdir()
    (granted / "file").write_text("x")
    (tmp_path / "beside").write_text("x")
    grants = [{"host": str(granted), "guest": "/data"}]
    assert run_of(opening("file"), grants=grants).exit == 0
    created, writing = opening("new", flags=1, rights=64), opening("file", rights=64)
    assert run_of(created, grants=grants).exit not in {0, None}
    assert run_of(writing, grants=grants).exit not in {0, None}
    assert run_of(opening("../beside"), grants=grants).exit not in {0, None}
    assert sorted(path.name for path in granted.iterdir()) == ["file"]
    assert (granted / "file").read_text() == "x"


def test_a_job_without_grants_can_open_nothing() -> None:
    assert run_of(opening("etc/passwd")).exit == 8  # no such descriptor


def test_a_granted_folder_that_is_not_there_keeps_the_job_from_running(tmp_path: Path) -> None:
    grants = [{"host": str(tmp_path / "gone"), "guest": "/data"}]
    ended = run_of(modules.NOTHING, grants=grants)
    assert ended.outcome is Outcome.NOT_RUN
    assert ended.reason.startswith("a granted folder cannot be opened: ")


def test_a_decompression_bomb_does_not_affect_the_next_job() -> None:
    for module in (modules.GROWING, flooding(1), modules.RECURSING):
        run_of(module)
    ended = run_of(exiting(7))
    assert (ended.outcome, ended.exit, ended.memory_bytes) == (Outcome.EXITED, 7, 65536)


def test_the_runtime_is_named_with_its_version() -> None:
    assert runtime().startswith("wasmtime ")
    assert runtime() != "wasmtime unknown"


def test_a_reason_is_one_short_line_of_ascii() -> None:
    assert plain("a\n\tb  \x1b[2J\u00e9") == r"a b \x1b[2J\xe9"
    assert plain("x" * 201) == "x" * 197 + "..."
    assert len(plain("x" * 200)) == 200


def test_the_same_source_is_always_the_same_module() -> None:
    assert assemble("(module)") == b"\0asm\x01\0\0\0"
