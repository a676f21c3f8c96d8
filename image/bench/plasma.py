"""`make bench-plasma`: what a job costs beside the bare runtime, its command line, and native code.

Ours and the peers take turns, so that whatever else the machine does hits all. A cold run is a
whole command; a warm one is a further job of one process, from its fork to its signed receipt. Fuel
is calibrated first and then set to a second. Whether that holds is judged by the processor time of
the job: a second of a busy machine is no second of work.
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
from phase_boot.plasma.engine import assembled
from phase_boot.plasma.engine import run as run_job
from phase_boot.plasma.job_process import NOBODY
from phase_boot.plasma.node_key import ephemeral, signing_agent
from phase_boot.plasma.runner import Machine, run_jobs
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
# Another mix of instructions: loads, stores and arithmetic.
BUSY: Final = """
(module (memory (export "memory") 16) (func (export "_start") (local $at i32)
  (loop
    (i32.store (local.get $at)
      (i32.add (i32.mul (i32.load (local.get $at)) (i32.const 31)) (local.get $at)))
    (local.set $at (i32.and (i32.add (local.get $at) (i32.const 4)) (i32.const 0xffffc)))
    (br 0))))
"""

Action = Callable[[], object]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, write the rows, print them."""
    words = argparse.ArgumentParser(prog="python -m image.bench.plasma", description=__doc__)
    words.add_argument("--rounds", type=int, default=ROUNDS)
    words.add_argument("--seconds", type=int, default=SECONDS_ROUNDS, help="runs of a second")
    words.add_argument("--wasmtime", type=Path, default=COMMAND, help="its command line")
    words.add_argument("--out", type=Path, default=RESULT)
    options = words.parse_args(arguments)
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
    """Measure hello in every way that there is here."""
    module, job = hello(), read_job((SOURCE / "hello.json").read_bytes())
    (scratch / "hello.wasm").write_bytes(module)
    (scratch / "stdin").write_text(job.stdin)
    with signing_agent(ephemeral) as keeper:
        machine = Machine(signer=keeper, arch=Arch.parse(platform.machine()), user=USER)
        actions: dict[str, Action] = {
            "cold": commanded(cold_words(scratch), scratch),
            "warm": lambda: warm(job, module, machine),
            "bare": lambda: bare(module, scratch),
            "native": commanded([compiled(scratch)], scratch),
        }
        if command.exists():
            words = [str(command), "run", *environment_words(), f"{scratch}/hello.wasm"]
            actions["command"] = commanded(words, scratch)
        times = measure(rounds, actions)
    cold = about.row("hello, the whole command", "ms", times["cold"])
    further = about.row("hello, a further job", "ms", times["warm"])
    if "command" in times:
        cold = about.compare(cold, "wasmtime's command", times["command"])
        further = about.compare(further, "wasmtime's command", times["command"])
    beyond = [ours - bare for ours, bare in zip(times["warm"], times["bare"], strict=True)]
    return [
        cold,
        further,
        about.row("hello, bare runtime in one process", "ms", times["bare"]),
        about.row("hello, a C program", "ms", times["native"]),
        about.row(
            "a further job beyond the bare runtime", "ms", beyond, threshold=OVERHEAD_THRESHOLD
        ),
    ]


def measure(rounds: int, actions: Mapping[str, Action]) -> dict[str, list[float]]:
    """Time actions that take turns, in milliseconds; the first turn warms up and does not count."""
    times: dict[str, list[float]] = {name: [] for name in actions}
    for number in range(rounds + 1):
        for name, action in actions.items():
            started = perf_counter_ns()
            action()
            if number:
                times[name].append((perf_counter_ns() - started) / MS)
    return times


def commanded(words: Sequence[str], scratch: Path) -> Action:
    """Return what runs a command with hello's input."""

    def act() -> None:
        with (scratch / "stdin").open("rb") as stdin:
            no = subprocess.DEVNULL
            subprocess.run(words, stdin=stdin, stdout=no, stderr=no, env=ENVIRONMENT, check=True)

    return act


def cold_words(scratch: Path) -> list[str]:
    """Return our command for hello."""
    program = Path(sys.executable).with_name("phase-boot")
    job = SOURCE / "hello.json"
    return [str(program), "plasma", "run", str(job), "--module", f"{scratch}/hello.wasm"]


def environment_words() -> list[str]:
    """Return how wasmtime's command is told the environment."""
    return [word for name, value in ENVIRONMENT.items() for word in ("--env", f"{name}={value}")]


def compiled(scratch: Path) -> str:
    """Return the native program that does the same."""
    out = scratch / "hello"
    source = Path(__file__).with_name("hello.c")
    subprocess.run(["cc", "-O2", "-o", out, source], check=True)  # noqa: S607 - the host's own
    return str(out)


def warm(job: Job, module: bytes, machine: Machine) -> None:
    """Run a job as the booted system does: a process, the limits, a receipt."""
    (done,) = run_jobs([job], lambda _: module, machine)
    if done.receipt.outcome is not Outcome.EXITED:
        raise AssertionError(done.receipt.reason)


def bare(module: bytes, scratch: Path) -> None:
    """Compile and run it in this process, with fuel and nothing else of ours."""
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
    """See how far a second of fuel is from a second, each time calibrated just before.

    What is judged is the median of the runs; each of them is as unsteady as the machine.
    """
    loop, busy = assembled(ENDLESS), assembled(BUSY)
    seconds(loop)
    own = [seconds(loop) for _ in range(rounds)]
    other = [seconds(busy) for _ in range(rounds)]
    rates, cpu, wall = zip(*own, strict=True)
    rate = median(rates)
    mixed = [taken(busy, round(rate))[0] for _ in range(3)]
    others = [time for _, time, _ in other]
    return [
        about.row("fuel of a second", "million", [rate / 1e6 for rate in rates]),
        about.row("a second of fuel lasts", "s", cpu),
        about.row("which is off by", "%", [off(median(cpu))], threshold=FUEL_THRESHOLD),
        about.row("by the clock on the wall", "s", wall),
        about.row("another loop lasts, by its own rate", "s", others),
        about.row("which is off by as well", "%", [off(median(others))], threshold=FUEL_THRESHOLD),
        about.row("another loop lasts, by the first's rate", "s", mixed),
    ]


def seconds(module: bytes) -> tuple[float, float, float]:
    """Return the fuel of a second, and what so much lasted: of processor time, of the wall."""
    fuel = 1_000_000_000
    working = taken(module, fuel)[0] - taken(module, 1)[0]
    return fuel / working, *taken(module, round(fuel / working))


def taken(module: bytes, fuel: int) -> tuple[float, float]:
    """Return the seconds of processor time and of the wall that some fuel lasted."""
    table = {"name": "fuel", "module": str(Digest.of(module)), "size": len(module)}
    job = Job.of({**table, "fuel": fuel, "wall_ms": 60_000})
    ended = run_job(job, module, {}, user=USER)
    if ended.outcome is not Outcome.OUT_OF_FUEL:
        raise AssertionError(ended)
    return ended.cpu_us / 1e6, ended.wall_us / 1e6


def off(seconds: float) -> float:
    """Return how far from a second that is, in percent."""
    return abs(seconds - 1) * 100


if __name__ == "__main__":
    sys.exit(edge.run(main))
