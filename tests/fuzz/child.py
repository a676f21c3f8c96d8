"""One target in a process of its own: `python -m tests.fuzz.child TARGET SECONDS`.

Needs atheris. Exits by libFuzzer's own hand; a case that breaks the target is left in its folder
under `corpus/`, where `make test` finds it from then on.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from tests.fuzz.bounds import MEMORY_MIB, bounded, peak_mib
from tests.fuzz.target import CORPUS, Target, load

WORK: Final = Path(__file__).parents[2] / "build/fuzz"
"""What libFuzzer learned; it goes on from there the next time."""
HANG_SECONDS: Final = 10
READERS: Final = ("phase_boot", "policies", "tomllib", "json", "urllib.parse")
"""What is instrumented: ours, and what reads for us in Python."""


def main(name: str, seconds: int) -> None:
    """Fuzz one target; never returns."""
    try:
        # By name: it is not installed where types are checked.
        atheris: Any = importlib.import_module("atheris")
    except ModuleNotFoundError:
        sys.exit("atheris is not there: run `make fuzz`, on x86_64, for which alone it has wheels")
    atheris.enabled_hooks.add("str")  # startswith and endswith tell how near a case came
    sys.modules.pop("urllib.parse", None)  # pathlib imported it before it could be instrumented
    with atheris.instrument_imports(include=list(READERS)):
        target = load(name)
    run = bounded(target.one)
    for case in target.starts.values():
        run(case)
    atheris.Setup([name, *_flags(name, target, seconds)], run)
    atheris.Fuzz()


def _flags(name: str, target: Target, seconds: int) -> Iterable[str]:
    work, kept = WORK / name, CORPUS / name
    learned, starts, words = work / "learned", work / "starts", work / "words"
    for folder in (learned, starts, kept):
        folder.mkdir(parents=True, exist_ok=True)
    for label, case in target.starts.items():
        (starts / label).write_bytes(case)
    words.write_text("".join(f'"{_escaped(word)}"\n' for word in target.words))
    return (
        str(learned),
        str(starts),
        str(kept),
        f"-dict={words}",
        f"-max_len={target.max_len}",
        f"-max_total_time={seconds}",
        f"-timeout={HANG_SECONDS}",
        # Measured here, after one run of each starting case: what comes on top is the cases'.
        f"-rss_limit_mb={peak_mib() + MEMORY_MIB:.0f}",
        f"-artifact_prefix={kept}/",
        "-print_final_stats=1",
    )


def _escaped(word: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in word)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
