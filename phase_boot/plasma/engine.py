"""Running one WebAssembly module under WASI preview 1: the only module that knows wasmtime.

The parent imports wasmtime but runs none of it. The child compiles and runs the module in one
thread and under all limits, so a module that is slow to compile is limited like any other.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Final

import wasmtime

from phase_boot.plasma.job_process import MAX_REPORT, KillReason, Limits, Result, run_sandboxed
from phase_boot.trust.fields import number_of, parsed, text_of
from phase_boot.trust.job import Job
from phase_boot.trust.receipt import MAX_EXIT, MAX_REASON, Outcome
from phase_boot.trust.refusals import Refusal
from phase_boot.trust.strict_json import MAX_INTEGER, read_document

MIB: Final = 2**20
COMPILER_BYTES: Final = 512 * MIB
"""Memory for compilation, in addition to the job's own limit."""
PAGE: Final = 65536
"""Bytes of a page of linear memory."""
_MODULE: Final = b"\0asm\x01\0\0\0"
_COMPONENT: Final = b"\0asm\x0d\0\x01\0"
_TABLE_ELEMENTS: Final = 100_000
_TABLES: Final = 8
# Features beyond the limits, or without use in WASI preview 1.
_WITHOUT: Final = (
    *("wasm_threads", "wasm_memory64", "wasm_multi_memory", "wasm_gc", "wasm_function_references"),
    *("wasm_exceptions", "wasm_component_model", "parallel_compilation", "memory_init_cow"),
)
# The start of wasmtime's last line: the number of a cause, and the words "wasm trap".
_PREFIX: Final = re.compile(r"^(?:[0-9]+: )?(?:wasm trap: )?")
Facts = dict[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run of a job: its outcome, its output and the resources that it used."""

    outcome: Outcome
    exit: int | None = None
    reason: str = ""
    stdout: bytes = b""
    stderr: bytes = b""
    wall_us: int = 0
    cpu_us: int = 0
    memory_bytes: int = 0
    fuel: int = 0


@cache
def runtime() -> str:
    """Return the name and version of the WebAssembly runtime, as receipts state them."""
    try:
        return f"wasmtime {importlib.metadata.version('wasmtime')}"
    except importlib.metadata.PackageNotFoundError:
        return "wasmtime unknown"


def run(job: Job, module: bytes, environment: Mapping[str, str], *, user: int | None) -> Run:
    """Run ``module`` for ``job`` in a child process that becomes ``user``; None keeps the user.

    Whatever the module does is an outcome.

    Raises:
        OSError: this machine has no process or descriptor left.
    """
    flaw = header_fault(module)
    if flaw is not None:
        return Run(outcome=Outcome.UNUSABLE_MODULE, reason=flaw)
    result = run_sandboxed(
        lambda report: _report(report, job, module, environment),
        Limits(
            stdin=job.stdin.encode(),
            wall_ms=job.wall_ms,
            output_bytes=job.output_kib * 1024,
            memory_bytes=job.memory_mib * MIB + COMPILER_BYTES,
            user=user,
        ),
    )
    return evaluate(job, result)


def assemble(source: str) -> bytes:
    """Assemble a module from WebAssembly's text format."""
    return bytes(wasmtime.wat2wasm(source))


def header_fault(module: bytes) -> str | None:
    """Return the fault in the first bytes of a module, or None."""
    if module.startswith(_COMPONENT):
        return "a component; only modules of WASI preview 1 are supported"
    # wasmtime also accepts the text format, whose hash differs from that of the binary module.
    return None if module.startswith(_MODULE) else "not a WebAssembly module"


# ---- in the parent: evaluating the result -------------------------------------------------------
def evaluate(job: Job, result: Result) -> Run:
    """Return the run that a child's result proves. Its report is untrusted."""
    lines = bytes(result.report).splitlines()
    outcome, code, reason, fuel, memory = _parse_report(job, lines[-1] if lines else b"")
    if result.killed is not None or result.signal:
        code, fuel, memory = None, 0, 0
        compiled = bool(lines)
        outcome, reason = _killed_outcome(job, result, compiled=compiled)
    return Run(
        outcome=outcome,
        exit=code,
        reason=reason,
        stdout=bytes(result.stdout),
        stderr=bytes(result.stderr),
        wall_us=result.wall_us,
        cpu_us=result.cpu_us,
        memory_bytes=memory,
        fuel=fuel,
    )


def _killed_outcome(job: Job, result: Result, *, compiled: bool) -> tuple[Outcome, str]:
    what = "it" if compiled else "compiling it"
    match result.killed:
        case KillReason.TIME:
            return Outcome.OUT_OF_TIME, f"{what} took longer than its {job.wall_ms} ms"
        case KillReason.OUTPUT:
            return Outcome.TOO_MUCH_OUTPUT, f"it wrote more than its {job.output_kib} KiB"
        case KillReason.REPORT:
            return Outcome.TRAPPED, "its process wrote too long a report"
    if result.signal == signal.SIGXCPU:
        return Outcome.OUT_OF_TIME, f"{what} took longer than its {job.wall_ms} ms"
    if not compiled:
        why = ", as when it is out of memory" if result.signal == signal.SIGABRT else ""
        return Outcome.UNUSABLE_MODULE, f"its compiler was ended by signal {result.signal}{why}"
    return Outcome.TRAPPED, f"its process was ended by signal {result.signal}"


def _parse_report(job: Job, line: bytes) -> tuple[Outcome, int | None, str, int, int]:
    """Return the facts of a child's report, within the bounds of the job."""
    try:
        facts = read_document(line, limit=MAX_REPORT, depth=1)
        if "unconfined" in facts:
            why = text_of(facts["unconfined"], "unconfined")
            return Outcome.NOT_RUN, None, plain(f"it could not be confined here: {why}"), 0, 0
        outcome = parsed(facts.get("outcome"), "outcome", Outcome)
        exits = outcome is Outcome.EXITED
        code = number_of(facts.get("exit"), "exit", least=0, most=MAX_EXIT) if exits else None
        return (
            outcome,
            code,
            plain(text_of(facts.get("reason"), "reason")),
            number_of(facts.get("fuel"), "fuel", least=0, most=min(job.fuel, MAX_INTEGER)),
            number_of(facts.get("memory"), "memory", least=0, most=job.memory_mib * MIB),
        )
    except Refusal:
        return Outcome.TRAPPED, None, "its process ended without a valid report", 0, 0


def plain(text: str) -> str:
    """Return one short line of printable ASCII; a module may control the text."""
    text = " ".join(text.split()).encode("ascii", "backslashreplace").decode()
    text = "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)
    return text if len(text) <= MAX_REASON else text[: MAX_REASON - 3] + "..."


# ---- in the child: compiling and running --------------------------------------------------------
def _report(report: int, job: Job, module: bytes, environment: Mapping[str, str]) -> None:
    engine = wasmtime.Engine(_config())
    try:
        compiled = wasmtime.Module(engine, module)
    except wasmtime.WasmtimeError as error:
        facts = _facts(Outcome.UNUSABLE_MODULE, _innermost(error))
    else:
        os.write(report, b"{}\n")
        facts = _execute(engine, compiled, job, environment)
    os.write(report, json.dumps(facts).encode("ascii"))


def _config() -> wasmtime.Config:
    config = wasmtime.Config()
    config.consume_fuel = True
    for feature in _WITHOUT:
        setattr(config, feature, False)
    return config


def _execute(
    engine: wasmtime.Engine, module: wasmtime.Module, job: Job, environment: Mapping[str, str]
) -> Facts:
    linker = wasmtime.Linker(engine)
    linker.define_wasi()
    store = wasmtime.Store(engine)
    store.set_limits(
        memory_size=job.memory_mib * MIB,
        table_elements=_TABLE_ELEMENTS,
        instances=1,
        tables=_TABLES,
        memories=1,
    )
    store.set_fuel(job.fuel)
    try:
        store.set_wasi(_wasi(job, environment))
    except wasmtime.WasmtimeError as error:
        return _facts(Outcome.NOT_RUN, f"a granted folder cannot be opened: {_innermost(error)}")
    facts, instance = _start(linker, store, module)
    memory = 0 if instance is None else _memory(store, instance)
    if facts["outcome"] == Outcome.TRAPPED and memory > job.memory_mib * MIB - PAGE:
        facts |= _facts(Outcome.OUT_OF_MEMORY, f"it used all of its {job.memory_mib} MiB of memory")
    return facts | {"fuel": job.fuel - store.get_fuel(), "memory": memory}


def _start(
    linker: wasmtime.Linker, store: wasmtime.Store, module: wasmtime.Module
) -> tuple[Facts, wasmtime.Instance | None]:
    try:
        instance = linker.instantiate(store, module)
    except wasmtime.Trap as trap:
        return _trap_facts(trap), None
    except wasmtime.WasmtimeError as error:
        message = str(error)
        large = "exceeds" in message and "limits" in message
        outcome = Outcome.OUT_OF_MEMORY if large else Outcome.UNUSABLE_MODULE
        return _facts(outcome, _innermost(error)), None
    start = instance.exports(store).get("_start")
    if not isinstance(start, wasmtime.Func) or start.type(store).params:
        return _facts(
            Outcome.UNUSABLE_MODULE, "it exports no function _start without parameters"
        ), instance
    return _call(store, start), instance


def _call(store: wasmtime.Store, start: wasmtime.Func) -> Facts:
    try:
        start(store)
    except wasmtime.ExitTrap as trap:
        return _facts(Outcome.EXITED, exit=trap.code & MAX_EXIT)
    except wasmtime.Trap as trap:
        return _trap_facts(trap)
    except wasmtime.WasmtimeError as error:
        return _facts(Outcome.TRAPPED, _innermost(error))
    return _facts(Outcome.EXITED, exit=0)


def _trap_facts(trap: wasmtime.Trap) -> Facts:
    if trap.trap_code is wasmtime.TrapCode.OUT_OF_FUEL:
        return _facts(Outcome.OUT_OF_FUEL, "it used all of its fuel")
    return _facts(Outcome.TRAPPED, _innermost(trap))


def _wasi(job: Job, environment: Mapping[str, str]) -> wasmtime.WasiConfig:
    wasi = wasmtime.WasiConfig()
    wasi.argv = [job.name, *job.args]
    wasi.env = environment.items()
    wasi.inherit_stdin()
    wasi.inherit_stdout()
    wasi.inherit_stderr()
    for grant in job.grants:
        wasi.preopen_dir(grant.host, grant.guest, fs_mutable=False)
    return wasi


def _memory(store: wasmtime.Store, instance: wasmtime.Instance) -> int:
    """Return the bytes of linear memory, which never shrinks."""
    exports = instance.exports(store)
    found = (exports[name] for name in exports)
    return max((m.data_len(store) for m in found if isinstance(m, wasmtime.Memory)), default=0)


def _innermost(error: Exception) -> str:
    """Return the last line of an error, which is its cause; earlier lines are the context."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return plain(_PREFIX.sub("", lines[-1]) if lines else type(error).__name__)


def _facts(outcome: Outcome, reason: str = "", exit: int | None = None) -> Facts:  # noqa: A002 - its name in the receipt
    return {"outcome": str(outcome), "reason": reason, "exit": exit, "fuel": 0, "memory": 0}
