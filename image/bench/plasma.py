"""`make bench-plasma`: the cost of a job, compared with the runtime, its command and native code.

Runs alternate, so that other load on the machine affects all. A cold run is a whole command. A warm
run is a further job of one process, from its fork to its signed receipt. For the accuracy of fuel,
the fuel of one second is calibrated and then spent. The job's processor time is judged, because its
wall time includes other load.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from time import perf_counter_ns
from typing import Final

import wasmtime

from image.bench.results import (
    FOLDER,
    Bench,
    Row,
    Threshold,
    host_description,
    replace_rows,
    table,
)
from image.hello import SOURCE, hello
from phase_boot.app import edge
from phase_boot.content.arch import Arch
from phase_boot.content.digest import Digest
from phase_boot.plasma.engine import assemble
from phase_boot.plasma.engine import run as run_job
from phase_boot.plasma.node_key import ephemeral, signing_agent
from phase_boot.plasma.runner import Machine, run_jobs
from phase_boot.sandbox.process import NOBODY
from phase_boot.trust.job import Job, read_job
from phase_boot.trust.receipt import Outcome

RESULT: Final = FOLDER / "plasma.json"
COMMAND: Final = Path("build/tools/bin/wasmtime")
ROUNDS: Final = 25
SECONDS_ROUNDS: Final = 11
MS: Final = 1_000_000
OVERHEAD_THRESHOLD: Final = Threshold(20.0)
FUEL_THRESHOLD: Final = Threshold(5.0)
USER: Final = NOBODY if os.geteuid() == 0 else None
ENVIRONMENT: Final = {"PHASE_NODE": "ed25519:0", "PHASE_ARCH": "here", "PHASE_VERSION": "none"}
ENDLESS: Final = '(module (memory (export "memory") 1) (func (export "_start") (loop (br 0))))'
BUSY: Final = """
(module (memory (export "memory") 16) (func (export "_start") (local $at i32)
  (loop
    (i32.store (local.get $at)
      (i32.add (i32.mul (i32.load (local.get $at)) (i32.const 31)) (local.get $at)))
    (local.set $at (i32.and (i32.add (local.get $at) (i32.const 4)) (i32.const 0xffffc)))
    (br 0))))
"""

"""Another mix of instructions: loads, stores and arithmetic."""

Action = Callable[[], object]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark, write its rows, and print them."""
    parser = argparse.ArgumentParser(prog="python -m image.bench.plasma", description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument(
        "--seconds", type=int, default=SECONDS_ROUNDS, help="number of one-second runs"
    )
    parser.add_argument("--wasmtime", type=Path, default=COMMAND, help="wasmtime's command")
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args(arguments)
    about = Bench(
        arch=str(Arch.parse(platform.machine())), machine=host_description(), accel="native"
    )
    with tempfile.TemporaryDirectory() as scratch:
        rows = [
            *hello_rows(about, Path(scratch), options.rounds, options.wasmtime),
            *fuel_rows(about, options.seconds),
        ]
    replace_rows(options.out, rows)
    print("\n".join(table(rows)))
    return 0


# ---- hello --------------------------------------------------------------------------------------
def hello_rows(about: Bench, scratch: Path, rounds: int, command: Path) -> list[Row]:
    """Measure the job `hello` in every available way."""
    module, job = hello(), read_job((SOURCE / "hello.json").read_bytes())
    (scratch / "hello.wasm").write_bytes(module)
    (scratch / "stdin").write_text(job.stdin)
    with signing_agent(ephemeral) as keeper:
        machine = Machine(signer=keeper, arch=Arch.parse(platform.machine()), user=USER)
        actions: dict[str, Action] = {
            "cold": run_command(cold_command(scratch), scratch),
            "warm": lambda: warm(job, module, machine),
            "bare": lambda: bare(module, scratch),
            "native": run_command([compiled(scratch)], scratch),
        }
        if command.exists():
            argv = [str(command), "run", *environment_options(), f"{scratch}/hello.wasm"]
            actions["command"] = run_command(argv, scratch)
        times = measure(rounds, actions)
    cold = about.row("hello, the whole command", "ms", times["cold"])
    further = about.row("hello, a further job", "ms", times["warm"])
    if "command" in times:
        cold = about.compare(cold, "wasmtime's command", times["command"])
        further = about.compare(further, "wasmtime's command", times["command"])
    overhead = [ours - bare for ours, bare in zip(times["warm"], times["bare"], strict=True)]
    return [
        cold,
        further,
        about.row("hello, bare runtime in one process", "ms", times["bare"]),
        about.row("hello, a C program", "ms", times["native"]),
        about.row(
            "a further job, more than the bare runtime",
            "ms",
            overhead,
            threshold=OVERHEAD_THRESHOLD,
        ),
    ]


def measure(rounds: int, actions: Mapping[str, Action]) -> dict[str, list[float]]:
    """Time alternating actions in milliseconds; the first round is a warm-up and is dropped."""
    times: dict[str, list[float]] = {name: [] for name in actions}
    for number in range(rounds + 1):
        for name, action in actions.items():
            started = perf_counter_ns()
            action()
            if number:
                times[name].append((perf_counter_ns() - started) / MS)
    return times


def run_command(argv: Sequence[str], scratch: Path) -> Action:
    """Return an action that runs a command with the input of `hello`."""

    def act() -> None:
        with (scratch / "stdin").open("rb") as stdin:
            no = subprocess.DEVNULL
            subprocess.run(argv, stdin=stdin, stdout=no, stderr=no, env=ENVIRONMENT, check=True)

    return act


def cold_command(scratch: Path) -> list[str]:
    """Return our command for `hello`."""
    program = Path(sys.executable).with_name("phase-boot")
    job = SOURCE / "hello.json"
    return [str(program), "plasma", "run", str(job), "--module", f"{scratch}/hello.wasm"]


def environment_options() -> list[str]:
    """Return the options that set the environment for wasmtime's command."""
    return [each for name, value in ENVIRONMENT.items() for each in ("--env", f"{name}={value}")]


def compiled(scratch: Path) -> str:
    """Compile the C program that does the same as `hello`, and return its path."""
    out = scratch / "hello"
    source = Path(__file__).with_name("hello.c")
    subprocess.run(["cc", "-O2", "-o", out, source], check=True)  # noqa: S607 - the host's compiler
    return str(out)


def warm(job: Job, module: bytes, machine: Machine) -> None:
    """Run a job as the booted system does: in a limited process, with a receipt."""
    (done,) = run_jobs([job], lambda _: module, machine)
    if done.receipt.outcome is not Outcome.EXITED:
        raise AssertionError(done.receipt.reason)


def bare(module: bytes, scratch: Path) -> None:
    """Compile and run a module in this process, with fuel and without limits or receipt."""
    config = wasmtime.Config()
    config.consume_fuel = True
    config.parallel_compilation = False
    engine = wasmtime.Engine(config)
    linker = wasmtime.Linker(engine)
    linker.define_wasi()
    store = wasmtime.Store(engine)
    store.set_fuel(10**9)
    wasi = wasmtime.WasiConfig()
    wasi.stdin_file = scratch / "stdin"
    wasi.stdout_file = str(scratch / "stdout")
    wasi.env = ENVIRONMENT.items()
    store.set_wasi(wasi)
    start = linker.instantiate(store, wasmtime.Module(engine, module)).exports(store)["_start"]
    if isinstance(start, wasmtime.Func):
        start(store)


# ---- fuel ---------------------------------------------------------------------------------------
def fuel_rows(about: Bench, rounds: int) -> list[Row]:
    """Measure how long a second of fuel lasts; each run is calibrated directly before.

    The median of the runs is judged, as single runs vary with the load of the machine.
    """
    loop, busy = assemble(ENDLESS), assemble(BUSY)
    calibrated_run(loop)
    own = [calibrated_run(loop) for _ in range(rounds)]
    other = [calibrated_run(busy) for _ in range(rounds)]
    rates, cpu, wall = zip(*own, strict=True)
    rate = median(rates)
    mixed = [run_seconds(busy, round(rate))[0] for _ in range(3)]
    others = [time for _, time, _ in other]
    return [
        about.row("fuel of a second", "million", [rate / 1e6 for rate in rates]),
        about.row("a second of fuel lasts", "s", cpu),
        about.row("which is off by", "%", [percent_off(median(cpu))], threshold=FUEL_THRESHOLD),
        about.row("by the clock on the wall", "s", wall),
        about.row("another loop lasts, by its own rate", "s", others),
        about.row(
            "which is off by as well", "%", [percent_off(median(others))], threshold=FUEL_THRESHOLD
        ),
        about.row("another loop lasts, by the first's rate", "s", mixed),
    ]


def calibrated_run(module: bytes) -> tuple[float, float, float]:
    """Return the fuel of a second, and how long it lasted in processor time and in wall time."""
    fuel = 1_000_000_000
    working = run_seconds(module, fuel)[0] - run_seconds(module, 1)[0]
    return fuel / working, *run_seconds(module, round(fuel / working))


def run_seconds(module: bytes, fuel: int) -> tuple[float, float]:
    """Return how long `fuel` lasted, in seconds of processor time and of wall time."""
    table = {"name": "fuel", "module": str(Digest.of(module)), "size": len(module)}
    job = Job.of({**table, "fuel": fuel, "wall_ms": 60_000})
    ended = run_job(job, module, {}, user=USER)
    if ended.outcome is not Outcome.OUT_OF_FUEL:
        raise AssertionError(ended)
    return ended.cpu_us / 1e6, ended.wall_us / 1e6


def percent_off(seconds: float) -> float:
    """Return the deviation from one second in percent."""
    return abs(seconds - 1) * 100


if __name__ == "__main__":
    sys.exit(edge.run(main))
