"""WebAssembly modules that each do one thing, most of them hostile."""

from __future__ import annotations

from typing import Any, Final

from phase_boot.content.digest import Digest
from phase_boot.plasma.engine import Run, assemble, run
from phase_boot.trust.job import Job

_WASI: Final = """
(import "wasi_snapshot_preview1" "fd_write"
  (func $write (param i32 i32 i32 i32) (result i32)))
(import "wasi_snapshot_preview1" "poll_oneoff"
  (func $poll (param i32 i32 i32 i32) (result i32)))
(import "wasi_snapshot_preview1" "path_open"
  (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
(import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
(memory (export "memory") 1)
"""


def doing(body: str, more: str = "") -> bytes:
    """Return a module whose `_start` is ``body``, with imports of WASI."""
    return assemble(f'(module {_WASI} {more} (func (export "_start") {body}))')


def exiting(status: int) -> bytes:
    return doing(f"(call $exit (i32.const {status}))")


def flooding(fd: int) -> bytes:
    """Writes 4096 bytes to a stream, for ever."""
    vector = r'(data (i32.const 0) "\10\00\00\00\00\10\00\00")'
    call = f"(call $write (i32.const {fd}) (i32.const 0) (i32.const 1) (i32.const 8))"
    return doing(f"(loop (drop {call}) (br 0))", vector)


def opening(path: str, *, flags: int = 0, rights: int = 2) -> bytes:
    """Exits with WASI's error number for opening a path in the first folder it was granted."""
    text = f'(data (i32.const 100) "{path}")'
    length = len(path)
    return doing(
        f"""(call $exit (call $open (i32.const 3) (i32.const 0) (i32.const 100)
        (i32.const {length}) (i32.const {flags}) (i64.const {rights}) (i64.const 0)
        (i32.const 0) (i32.const 8)))""",
        text,
    )


NOTHING: Final = doing("")
ENDLESS: Final = doing("(loop (br 0))")
SLEEPING: Final = doing(
    "(drop (call $poll (i32.const 0) (i32.const 100) (i32.const 1) (i32.const 200)))",
    # A subscription to the monotonic clock, an hour from now.
    r'(data (i32.const 16) "\01\00\00\00\00\00\00\00\00\a0\b8\30\46\03\00\00")',
)
GROWING: Final = doing(
    "(loop (br_if 0 (i32.ne (memory.grow (i32.const 1)) (i32.const -1)))) unreachable"
)
TRAPPING: Final = doing("unreachable")
RECURSING: Final = assemble('(module (func $again (export "_start") (call $again)))')
TRAPPING_EARLY: Final = assemble(
    '(module (func $first unreachable) (start $first) (func (export "_start")))'
)
ENDLESS_EARLY: Final = assemble(
    '(module (func $first (loop (br 0))) (start $first) (func (export "_start")))'
)
HUGE: Final = assemble('(module (memory (export "memory") 65536) (func (export "_start")))')
WIDE: Final = assemble('(module (table 10000000 funcref) (func (export "_start")))')
LACKING: Final = assemble(r'(module (import "env" "\1b[2Jx" (func)) (func (export "_start")))')
WITHOUT_START: Final = assemble("(module)")
STARTING_ODDLY: Final = assemble('(module (func (export "_start") (param i32)))')
TWO_MEMORIES: Final = assemble('(module (memory 1) (memory 1) (func (export "_start")))')


def compiling_long() -> bytes:
    """One function of about two million instructions, which takes long to compile."""
    step = "(local.set 0 (i32.add (i32.mul (local.get 0) (local.get 1)) (local.get 2)))"
    body = f"(local i32 i32 i32) {step * 100_000}"
    return assemble(f'(module (func (export "_start") {body}))')


def job_of(module: bytes, **changes: Any) -> Job:
    """Return a job that runs ``module``, with some limits changed."""
    table = {"name": "job", "module": str(Digest.of(module)), "size": len(module)}
    return Job.of(table | changes)


def run_of(module: bytes, **changes: Any) -> Run:
    """Run ``module`` with some limits changed."""
    return run(job_of(module, **changes), module, {}, user=None)
