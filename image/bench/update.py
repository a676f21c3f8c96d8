"""`make bench-update`: how many bytes a machine fetches that has an older version already.

Ours are the chunks and the parts of their index that `DagIndex` wants, as a client asks for them;
then our own command does it, into a store that has the older version. Beside it, in the same run:
zsync, rsync, casync, and xdelta3, which knows both files and so is what nobody can reach who
publishes one file for all. desync is left out where nobody has built it.
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
from image.bench.update_inputs import roots
from image.errors import BuildError
from image.lab.namespace import environment
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
_NGINX: Final = """daemon off; master_process off; user root root; pid {0}/nginx.pid;
error_log {0}/nginx.log; events {{}}
http {{ access_log off; max_ranges 9999; client_body_temp_path {0}/1; proxy_temp_path {0}/2;
fastcgi_temp_path {0}/3; uwsgi_temp_path {0}/4; scgi_temp_path {0}/5;
server {{ listen 127.0.0.1:{1}; root {2}; }} }}
"""
_COUNTED: Final = ("access_log off;", "log_format sent '$bytes_sent'; access_log {0}/sent sent;")
RUNS: Final = 3
"""Of our own command and of zsync, whose times are compared."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What one side took."""

    transferred: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Ours:
    """What our client fetches."""

    index: int
    chunks: int
    requests: int


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, write the rows, print them."""
    words = argparse.ArgumentParser(prog="python -m image.bench.update", description=__doc__)
    words.add_argument("--out", type=Path, default=RESULT)
    options = words.parse_args(arguments)
    made = roots(CACHE)
    about = Bench(arch="amd64", machine=host_description(), accel="none")
    rows = [
        row
        for name, old, new in (
            ("two packages", made["base"], made["security"]),
            ("kernel", made["security"], made["kernel"]),
        )
        for row in measured(about, name, old, new)
    ]
    replace_rows(options.out, rows)
    print("\n".join(table(rows)))
    return 0


def measured(about: Bench, name: str, old: Path, new: Path) -> Iterator[Row]:
    """Yield the rows of one update."""
    before, _ = _cut(old)
    after, seconds = _cut(new)
    ours = fetched(before, after)
    yield about.row(
        f"{name}: cutting", "s/GiB", [seconds * 2**30 / after.size], threshold=Threshold(20)
    )
    yield about.row(f"{name}: index", "MB", [ours.index / MB])
    yield about.row(f"{name}: requests", "", [ours.requests])
    total = about.row(f"{name}: fetched", "MB", [(ours.index + ours.chunks) / MB])
    yield about.compare(total, "full", [new.stat().st_size / MB])
    sides: dict[str, Callable[[Path, Path, Path], Cost]] = {
        "zsync": zsync,
        "rsync": rsync,
        "casync": casync,
    }
    for side, fetch in sides.items():
        cost = _in_folder(fetch, old, new)
        yield about.compare(
            total, side, [cost.transferred / MB], threshold=Threshold(1.0, of_peer=True)
        )
        yield about.row(f"{name}: {side}'s time", "s", [cost.seconds])
    both = [(_in_folder(command, old, new), _in_folder(zsync, old, new)) for _ in range(RUNS)]
    sent = about.row(f"{name}: sent to our command", "MB", [c.transferred / MB for c, _ in both])
    yield about.compare(sent, "zsync", [z.transferred / MB for _, z in both])
    times = about.row(f"{name}: our command, durable", "s", [cost.seconds for cost, _ in both])
    theirs = [cost.seconds for _, cost in both]
    yield about.compare(times, "zsync", theirs, threshold=Threshold(1.0, of_peer=True))
    if new.stem == "security":
        # Of two kernels it takes minutes to find out that they share nothing.
        cost = _in_folder(xdelta3, old, new)
        yield about.compare(total, "xdelta3", [cost.transferred / MB])


def fetched(before: ChunkList, after: ChunkList) -> Ours:
    """Return what a machine with the first file, and the nodes over it, fetches of the second."""
    held, tree = dict(build_dag(before).nodes), build_dag(after)
    file = b"".join(tree.car())
    dag_index, index, requests = DagIndex(tree.root, after.size), 0, 0
    while not dag_index.complete:
        for cid in list(dag_index.missing_cids()):
            dag_index.add_block(cid, held.get(cid, b""))
        for part in dag_index.needed_ranges():
            data = file[part.offset : part.offset + part.length]
            dag_index.feed(part.offset, data)
            index, requests = index + len(data), requests + 1
    known, seen, size, here = ChunkTable(before), set[bytes](), 0, True
    for chunk in dag_index.chunks():
        was_here, here = here, known.find(chunk.digest) is not None or chunk.digest in seen
        if not here:
            seen.add(chunk.digest)
            size += chunk.size
            requests += was_here
    return Ours(index, size, requests)


def zsync(old: Path, new: Path, folder: Path) -> Cost:
    """The list of blocks and what it says that it fetched, from nginx."""
    (folder / "new").hardlink_to(new)
    control = folder / "new.zsync"
    _said("zsyncmake", "-e", "-u", "new", "-o", str(control), str(folder / "new"))
    with _serving(folder):
        url = f"http://127.0.0.1:{PORT}/new.zsync"
        said, seconds = _timed("zsync", "-i", str(old.absolute()), "-o", str(folder / "made"), url)
    return Cost(_number(r"fetched ([0-9,]+)", said) + control.stat().st_size, seconds)


def command(old: Path, new: Path, folder: Path) -> Cost:
    """`phase-boot fetch` from nginx into a store that has the older version: all that was sent."""
    key, site, store = folder / "key", folder / "site", folder / "store"
    _said(str(PROGRAM), "key", "new", str(key))
    small = folder / "small"
    small.write_bytes(b"a kernel, and an initramfs, that stay as they are")
    trusted = ("--key", read_keyfile(key).keyid, "--store", str(store))
    fetch = (str(PROGRAM), "fetch", f"http://127.0.0.1:{PORT}/site", "--channel", "bench", *trusted)
    with _serving(folder, counted=True):
        for version, rootfs in enumerate((old, new), start=1):
            _said(
                *(str(PROGRAM), "publish", "--channel", "bench", "--arch", str(ARCH)),
                *("--expires", "+9d", "--skip-image-checks"),
                *("--version", str(version), "--kernel", str(small), "--initramfs", str(small)),
                *("--rootfs", str(rootfs), "--key", str(key), "--out", str(site)),
            )
            # What the older one took is neither counted nor timed.
            (folder / "sent").write_bytes(b"")
            _, seconds = _timed(*fetch)
    return Cost(sum(map(int, (folder / "sent").read_text().split())), seconds)


def rsync(old: Path, new: Path, folder: Path) -> Cost:
    """What its two halves told one another."""
    made = folder / "made"
    shutil.copyfile(old, made)
    said, seconds = _timed("rsync", "--no-whole-file", "--stats", str(new), str(made))
    numbers = (_number(rf"Total bytes {way}: ([0-9,]+)", said) for way in ("sent", "received"))
    return Cost(sum(numbers), seconds)


def casync(old: Path, new: Path, folder: Path) -> Cost:
    """Its index, and the compressed chunks that only the newer file has; the time is cutting's."""
    stores, seconds = [folder / "old.castr", folder / "new.castr"], 0.0
    for store, file in zip(stores, (old, new), strict=True):
        index = str(store.with_suffix(".caibx"))
        words = (f"--store={store}", f"--chunk-size={CASYNC_CHUNKS}", index, str(file.absolute()))
        _, seconds = _timed("casync", "make", *words)
    had, has = ({path.name: path.stat().st_size for path in s.rglob("*.cacnk")} for s in stores)
    size = sum(size for name, size in has.items() if name not in had)
    return Cost(size + stores[1].with_suffix(".caibx").stat().st_size, seconds)


def xdelta3(old: Path, new: Path, folder: Path) -> Cost:
    """One delta from this version to that one."""
    out = folder / "delta"
    window = str(1 << old.stat().st_size.bit_length())
    words = ("-e", "-1", "-S", "none", "-B", window, "-s", str(old), str(new), str(out))
    _, seconds = _timed("xdelta3", *words)
    return Cost(out.stat().st_size, seconds)


def _cut(path: Path) -> tuple[ChunkList, float]:
    began = time.monotonic()
    with path.open("rb") as file:
        chunks = build_chunk_list(file, params_for(path.stat().st_size))
    return chunks, time.monotonic() - began


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
    configuration = folder / "nginx.conf"
    spelled = _NGINX.replace(*_COUNTED) if counted else _NGINX
    configuration.write_text(spelled.format(folder, PORT, folder))
    log = str(folder / "nginx.log")
    with subprocess.Popen(["/usr/sbin/nginx", "-c", str(configuration), "-e", log]) as process:
        try:
            time.sleep(1)
            yield
        finally:
            process.terminate()


def _timed(*command: str) -> tuple[str, float]:
    began = time.monotonic()
    said = _said(*command)
    return said, time.monotonic() - began


def _said(*command: str) -> str:
    if shutil.which(command[0]) is None:
        raise BuildError(f"{command[0]} is missing; install it: apt install {command[0]}")
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=SECONDS, check=True, env=environment()
    )
    return done.stdout + done.stderr


def _number(pattern: str, said: str) -> int:
    found = re.search(pattern, said)
    if found is None:
        raise BuildError(f"No {pattern!r} in what was said: {said[-400:]}")
    return int(found[1].replace(",", ""))


if __name__ == "__main__":
    sys.exit(edge.run(main))
