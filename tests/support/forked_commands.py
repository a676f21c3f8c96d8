"""`python -m tests.support.forked_commands CASES OUTCOMES`: run each command in a fork.

A fork costs a hundredth of a start of Python. Each command sees itself as the process of the
console script: its streams are as the case says, and its end is that of the interpreter.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
import tempfile
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any

SECONDS = 60
PACKAGES = ("phase_boot", "policies", "loader", "image")


def perform(case: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return the outcome of one case."""
    errors, output = folder / "stderr", folder / "stdout"
    pid = os.fork()
    if not pid:
        status = 99
        try:
            status = _as_process(case, errors, output)
        finally:
            os._exit(status)
    _, ended = os.waitpid(pid, 0)
    return {
        "status": os.waitstatus_to_exitcode(ended),
        "err": errors.read_text(errors="surrogateescape"),
        "out": output.read_text(errors="surrogateescape") if output.exists() else "",
    }


def _as_process(case: Mapping[str, Any], errors: Path, output: Path) -> int:
    signal.alarm(SECONDS)
    os.chdir(errors.parent)
    os.environ.update(case.get("env", {}))
    _place(2, os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600))
    _place(0, os.open(os.devnull, os.O_RDONLY))
    sys.stdin, sys.stderr = open(0), open(2, "w", buffering=1, errors="backslashreplace")  # noqa: SIM115
    _open_stdout(case["stdout"], output)
    if (calls := case.get("interrupt")) is not None:
        sys.setprofile(_interrupting(calls, errors.with_name("interrupted")))
    sys.argv = [case["program"], *map(os.fsdecode, map(bytes.fromhex, case["words"]))]
    status = _status()
    sys.setprofile(None)
    try:
        # What the interpreter does at its end, and complains of with the status 120.
        sys.stdout.flush()
    except (OSError, ValueError) as error:
        os.write(2, f"Exception ignored: {error!r}\nTraceback\n".encode())
        return 120
    return status


def _status() -> int:
    if sys.argv[0] == "image":
        from image.cli import main as build  # noqa: PLC0415 - only where it is run

        command = build
    else:
        from phase_boot.cli.main import main  # noqa: PLC0415 - only where it is run

        command = main
    try:
        return command()
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException as error:  # noqa: BLE001 - as the interpreter would
        os.write(2, f"Traceback of {error!r}\n".encode())
        return 1


def _open_stdout(kind: str, output: Path) -> None:
    if kind == "closed":
        os.close(1)
        sys.stdout = None
        return
    if kind == "full":
        _place(1, os.open("/dev/full", os.O_WRONLY))
    elif kind == "left":
        reader, writer = os.pipe()
        os.close(reader)
        _place(1, writer)
    else:
        _place(1, os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600))
    encoding = "ascii" if kind == "ascii" else "utf-8"
    sys.stdout = open(1, "w", closefd=False, encoding=encoding)  # noqa: SIM115


def _interrupting(calls: int, mark: Path) -> Any:
    """Return a profile function that sends SIGINT at that call of this project's code."""
    seen = 0

    def profile(frame: types.FrameType, event: str, _argument: object) -> None:
        nonlocal seen
        name = str(frame.f_globals.get("__name__", ""))
        if event != "call" or name.partition(".")[0] not in PACKAGES or name.endswith(".edge"):
            return
        # Calls are counted from the command on.
        seen += 1 if seen or frame.f_code.co_name == "_main" else 0
        if seen == calls:
            sys.setprofile(None)
            os.close(os.open(mark, os.O_CREAT | os.O_WRONLY, 0o600))
            signal.raise_signal(signal.SIGINT)

    return profile


def _place(number: int, opened: int) -> None:
    if opened != number:
        os.dup2(opened, number)
        os.close(opened)


def main() -> int:
    """Run every case of a file and write the outcomes to another."""
    import image.cli  # noqa: F401, PLC0415 - once, before the forks
    import phase_boot.announce.actions  # noqa: PLC0415 - the same
    import phase_boot.app.prefetch  # noqa: PLC0415 - the same
    import phase_boot.drill.cli  # noqa: PLC0415 - the same
    import phase_boot.plasma.boot_jobs  # noqa: PLC0415 - the same
    import phase_boot.provider.serve  # noqa: PLC0415 - the same
    import phase_boot.publish.actions  # noqa: PLC0415 - the same
    import phase_boot.publish.roots.actions  # noqa: F401, PLC0415 - the same

    signal.signal(signal.SIGINT, signal.default_int_handler)
    # A collection in a fork would write to, and so copy, every page.
    gc.freeze()
    outcomes = []
    for case in json.loads(Path(sys.argv[1]).read_text()):
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder)
            for name, text in case.get("files", {}).items():
                (place / name).write_text(text)
            outcome = perform(case, place)
            outcome["interrupted"] = (place / "interrupted").exists()
            outcomes.append(outcome)
    Path(sys.argv[2]).write_text(json.dumps(outcomes))
    return 0


if __name__ == "__main__":
    sys.exit(main())
