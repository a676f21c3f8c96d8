"""`make bench-update`: bytes that a machine downloads if it has an older version.

First the chunks and the parts of the index that `DagIndex` needs are counted. Then our own command
downloads into a store with the older version. It is compared with zsync, rsync and casync, and with
xdelta3. xdelta3 knows both files, so its size is a lower bound that no format with one file for all
clients reaches.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from image.bench.results import (
    FOLDER,
    Bench,
    Row,
    Threshold,
    host_description,
    replace_rows,
    table,
)
from image.bench.update_inputs import root_images
from image.errors import BuildError
from image.lab.namespace import environment
from image.lab.nginx import nginx_command
from image.lab.provider_process import PROGRAM
from phase_boot.app import edge
from phase_boot.content.arch import Arch
from phase_boot.content.chunk_list import ChunkList, ChunkTable
from phase_boot.content.chunker import build_chunk_list, params_for
from phase_boot.content.dag_builder import build_dag
from phase_boot.content.dag_index import DagIndex
from phase_boot.publish.keys.keyfile import read_keyfile

RESULT: Final = FOLDER / "update.json"
CACHE: Final = Path("build/bench/update")
PORT: Final = 8197
MB: Final = 1_000_000
SECONDS: Final = 600
ARCH: Final = Arch.parse(os.uname().machine)
CASYNC_CHUNKS: Final = "16384:65536:262144"
RUNS: Final = 3
"""Runs of our own command and of zsync, whose times are compared."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Bytes and seconds of one program."""

    transferred: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Needed:
    """Bytes of the index, bytes of chunks, and requests of our client."""

    index: int
    chunks: int
    requests: int


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark, write its rows, and print them."""
    parser = argparse.ArgumentParser(prog="python -m image.bench.update", description=__doc__)
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args(arguments)
    made = root_images(CACHE)
    about = Bench(arch="amd64", machine=host_description(), accel="none")
    rows = [
        row
        for name, old, new in (
            ("two packages", made["base"], made["security"]),
            ("kernel", made["security"], made["kernel"]),
        )
        for row in measure(about, name, old, new)
    ]
    replace_rows(options.out, rows)
    print("\n".join(table(rows)))
    return 0


def measure(about: Bench, name: str, old: Path, new: Path) -> Iterator[Row]:
    """Yield the rows of one update."""
    before, _ = _timed_chunk_list(old)
    after, seconds = _timed_chunk_list(new)
    ours = needed(before, after)
    yield about.row(
        f"{name}: chunking", "s/GiB", [seconds * 2**30 / after.size], threshold=Threshold(20)
    )
    yield about.row(f"{name}: index", "MB", [ours.index / MB])
    yield about.row(f"{name}: requests", "", [ours.requests])
    total = about.row(f"{name}: fetched", "MB", [(ours.index + ours.chunks) / MB])
    yield about.compare(total, "full", [new.stat().st_size / MB])
    programs: dict[str, Callable[[Path, Path, Path], Cost]] = {
        "zsync": zsync,
        "rsync": rsync,
        "casync": casync,
    }
    for program, update in programs.items():
        cost = _in_folder(update, old, new)
        yield about.compare(
            total, program, [cost.transferred / MB], threshold=Threshold(1.0, of_peer=True)
        )
        yield about.row(f"{name}: {program}'s time", "s", [cost.seconds])
    both = [(_in_folder(command, old, new), _in_folder(zsync, old, new)) for _ in range(RUNS)]
    sent = about.row(f"{name}: sent to our command", "MB", [c.transferred / MB for c, _ in both])
    yield about.compare(sent, "zsync", [z.transferred / MB for _, z in both])
    times = about.row(f"{name}: our command, durable", "s", [cost.seconds for cost, _ in both])
    theirs = [cost.seconds for _, cost in both]
    yield about.compare(times, "zsync", theirs, threshold=Threshold(1.0, of_peer=True))
    if new.stem == "security":
        # For two kernels, which share nothing, xdelta3 takes minutes.
        cost = _in_folder(xdelta3, old, new)
        yield about.compare(total, "xdelta3", [cost.transferred / MB])


def needed(before: ChunkList, after: ChunkList) -> Needed:
    """Return what a machine with the first file and its nodes downloads of the second one."""
    local_nodes, tree = dict(build_dag(before).nodes), build_dag(after)
    file = b"".join(tree.car())
    dag_index, index, requests = DagIndex(tree.root, after.size), 0, 0
    while not dag_index.complete:
        for cid in list(dag_index.missing_cids()):
            dag_index.add_block(cid, local_nodes.get(cid, b""))
        for part in dag_index.needed_ranges():
            data = file[part.offset : part.offset + part.length]
            dag_index.feed(part.offset, data)
            index, requests = index + len(data), requests + 1
    known, seen, size, local = ChunkTable(before), set[bytes](), 0, True
    for chunk in dag_index.chunks():
        before_local, local = local, known.find(chunk.digest) is not None or chunk.digest in seen
        if not local:
            seen.add(chunk.digest)
            size += chunk.size
            requests += before_local
    return Needed(index, size, requests)


def zsync(old: Path, new: Path, folder: Path) -> Cost:
    """Update by zsync from nginx: its control file, and the bytes that it reports."""
    (folder / "new").hardlink_to(new)
    control = folder / "new.zsync"
    _output("zsyncmake", "-e", "-u", "new", "-o", str(control), str(folder / "new"))
    with _serving(folder):
        url = f"http://127.0.0.1:{PORT}/new.zsync"
        output, seconds = _timed(
            "zsync", "-i", str(old.absolute()), "-o", str(folder / "made"), url
        )
    return Cost(_number(r"fetched ([0-9,]+)", output) + control.stat().st_size, seconds)


def command(old: Path, new: Path, folder: Path) -> Cost:
    """Update by `phase-boot fetch` from nginx: the bytes that nginx sent."""
    key, site, store = folder / "key", folder / "site", folder / "store"
    _output(str(PROGRAM), "key", "new", str(key))
    small = folder / "small"
    small.write_bytes(b"a kernel and an initramfs that do not change")
    options = ("--key", read_keyfile(key).keyid, "--store", str(store))
    fetch = (str(PROGRAM), "fetch", f"http://127.0.0.1:{PORT}/site", "--channel", "bench", *options)
    with _serving(folder, counted=True):
        for version, rootfs in enumerate((old, new), start=1):
            _output(
                *(str(PROGRAM), "publish", "--channel", "bench", "--arch", str(ARCH)),
                *("--expires", "+9d", "--skip-image-checks"),
                *("--version", str(version), "--kernel", str(small), "--initramfs", str(small)),
                *("--rootfs", str(rootfs), "--key", str(key), "--out", str(site)),
            )
            # The download of the older version is not measured.
            (folder / "sent").write_bytes(b"")
            _, seconds = _timed(*fetch)
    return Cost(sum(map(int, (folder / "sent").read_text().split())), seconds)


def rsync(old: Path, new: Path, folder: Path) -> Cost:
    """Update by rsync: the bytes that its two processes exchanged."""
    made = folder / "made"
    shutil.copyfile(old, made)
    output, seconds = _timed("rsync", "--no-whole-file", "--stats", str(new), str(made))
    numbers = (_number(rf"Total bytes {way}: ([0-9,]+)", output) for way in ("sent", "received"))
    return Cost(sum(numbers), seconds)


def casync(old: Path, new: Path, folder: Path) -> Cost:
    """Update by casync: its index, and the compressed chunks that only the new file has."""
    stores, seconds = [folder / "old.castr", folder / "new.castr"], 0.0
    for store, file in zip(stores, (old, new), strict=True):
        index = str(store.with_suffix(".caibx"))
        options = (f"--store={store}", f"--chunk-size={CASYNC_CHUNKS}", index, str(file.absolute()))
        _, seconds = _timed("casync", "make", *options)
    old_sizes, new_sizes = (
        {path.name: path.stat().st_size for path in s.rglob("*.cacnk")} for s in stores
    )
    size = sum(size for name, size in new_sizes.items() if name not in old_sizes)
    return Cost(size + stores[1].with_suffix(".caibx").stat().st_size, seconds)


def xdelta3(old: Path, new: Path, folder: Path) -> Cost:
    """The size of one delta from the old to the new version."""
    out = folder / "delta"
    window = str(1 << old.stat().st_size.bit_length())
    options = ("-e", "-1", "-S", "none", "-B", window, "-s", str(old), str(new), str(out))
    _, seconds = _timed("xdelta3", *options)
    return Cost(out.stat().st_size, seconds)


def _timed_chunk_list(path: Path) -> tuple[ChunkList, float]:
    started = time.monotonic()
    with path.open("rb") as file:
        chunks = build_chunk_list(file, params_for(path.stat().st_size))
    return chunks, time.monotonic() - started


def _in_folder(fetch: Callable[[Path, Path, Path], Cost], old: Path, new: Path) -> Cost:
    folder = (CACHE / "run").absolute()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        return fetch(old, new, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _serving(folder: Path, *, counted: bool = False) -> Iterator[None]:
    log = f"log_format sent '$bytes_sent'; access_log {folder}/sent sent;"
    http = f"""\
        {log if counted else "access_log off;"}
        max_ranges 9999;
        server {{ listen 127.0.0.1:{PORT}; root {folder}; }}
        """
    with subprocess.Popen(nginx_command(folder, http)) as process:
        try:
            time.sleep(1)
            yield
        finally:
            process.terminate()


def _timed(*command: str) -> tuple[str, float]:
    started = time.monotonic()
    output = _output(*command)
    return output, time.monotonic() - started


def _output(*command: str) -> str:
    if shutil.which(command[0]) is None:
        raise BuildError(f"{command[0]} is missing; install it: apt install {command[0]}")
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=SECONDS, check=True, env=environment()
    )
    return done.stdout + done.stderr


def _number(pattern: str, output: str) -> int:
    found = re.search(pattern, output)
    if found is None:
        raise BuildError(f"The output has no {pattern!r}: {output[-400:]}")
    return int(found[1].replace(",", ""))


if __name__ == "__main__":
    sys.exit(edge.run(main))
