"""`make bench-trust`: the cost of verification, compared with bare signature checks.

Our runs and the peer's alternate, so that other load on the machine affects both. Each round has a
median and a 99th percentile; a row holds the median of the rounds and their spread.
"""

from __future__ import annotations

import argparse
import base64
import json
import platform
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from time import perf_counter_ns
from typing import Final

import nacl.signing

from image.bench.results import (
    FOLDER,
    Bench,
    Row,
    Threshold,
    host_description,
    replace_rows,
    table,
)
from phase_boot.app import edge
from phase_boot.content.arch import Arch
from phase_boot.content.version import Version
from phase_boot.trust import root
from phase_boot.trust.chain import Chain
from phase_boot.trust.keys import SigningKey
from phase_boot.trust.manifest import signed_bytes
from phase_boot.trust.refusals import Refusal
from phase_boot.trust.rollback import MAX_SEEN, RollbackState, read_state, write_state
from phase_boot.trust.signatures import MAX_KEYS, Trust, claims_of
from phase_boot.trust.strict_json import MAX_BYTES, canonical, read_document
from phase_boot.trust.verify import BootRequirements, authenticate, verify

RESULT: Final = FOLDER / "trust.json"
PEER: Final = "bare PyNaCl"
ROUNDS: Final = 11
RUNS: Final = 500
"""Runs per round; more than 5,000 in total."""
US: Final = 1_000
MS: Final = 1_000_000
NOW: Final = datetime(2025, 11, 20, tzinfo=UTC)
REQUIREMENTS: Final = BootRequirements(
    arch=Arch.AMD64, channel="stable", min_version=Version.parse("2025.10")
)
KEYS: Final = tuple(SigningKey(bytes([number]) * 32) for number in range(1, 6))
TRUST: Final = Trust(frozenset(key.keyid for key in KEYS), 3)
ROOT_KEYS: Final = tuple(SigningKey(bytes([number]) * 32) for number in range(11, 14))
VERIFY_THRESHOLD: Final = Threshold(3.0, of_peer=True)
HOSTILE_THRESHOLD: Final = Threshold(100.0)

Action = Callable[[], object]


@dataclass(slots=True)
class Times:
    """Median and 99th percentile of each round of one action, in nanoseconds."""

    medians: list[float] = field(default_factory=list)
    worst: list[float] = field(default_factory=list)

    def add(self, runs: list[int]) -> None:
        """Add the nanoseconds of one round."""
        self.medians.append(median(runs))
        self.worst.append(sorted(runs)[len(runs) * 99 // 100])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark, write its rows, and print them."""
    parser = argparse.ArgumentParser(prog="python -m image.bench.trust", description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args(arguments)
    rows = bench(options.rounds, options.runs)
    replace_rows(options.out, rows)
    print("\n".join(table(rows)))
    return 0


def bench(rounds: int, runs: int) -> list[Row]:
    """Run all measurements and return the rows."""
    about = Bench(
        arch=str(Arch.parse(platform.machine())), machine=host_description(), accel="native"
    )
    manifest, following = signed(release()), next_root()
    first = root.load_trusted(first_root())
    chain, state = largest_state()
    ours, bare = measure(rounds, runs, verifying(manifest), bare_checks(manifest))
    next_root_times, bare_root = measure(
        rounds, runs, lambda: root.verify_next(first, following), bare_root_checks(following)
    )
    (reading,) = measure(rounds, max(1, runs // 20), lambda: read_state(state, chain))
    hostile = slowest_hostile(rounds, max(1, runs // 50))
    by_root = about.row("root after a root", "us", scaled(next_root_times.medians, US))
    return [
        _compared(about, "3-of-5 manifest", ours.medians, bare.medians),
        _compared(about, "3-of-5 manifest, p99", ours.worst, bare.worst),
        about.compare(by_root, PEER, scaled(bare_root.medians, US)),
        about.row("state of 8 manifests", "ms", scaled(reading.medians, MS)),
        about.row("hostile 64 KiB", "ms", scaled(hostile.medians, MS), threshold=HOSTILE_THRESHOLD),
        about.row("hostile 64 KiB, p99", "ms", scaled(hostile.worst, MS)),
    ]


def measure(rounds: int, runs: int, *actions: Action) -> list[Times]:
    """Time alternating actions."""
    times = [Times() for _ in actions]
    for _ in range(rounds):
        taken: list[list[int]] = [[] for _ in actions]
        for _ in range(runs):
            for action, into in zip(actions, taken, strict=True):
                started = perf_counter_ns()
                action()
                into.append(perf_counter_ns() - started)
        for total, into in zip(times, taken, strict=True):
            total.add(into)
    return times


def scaled(nanoseconds: Sequence[float], unit: int) -> list[float]:
    """Convert times to a unit of `unit` nanoseconds."""
    return [value / unit for value in nanoseconds]


def _compared(about: Bench, name: str, ours: Sequence[float], peer: Sequence[float]) -> Row:
    row = about.row(name, "us", scaled(ours, US))
    return about.compare(row, PEER, scaled(peer, US), threshold=VERIFY_THRESHOLD)


def release(**more: object) -> dict[str, object]:
    """Return a manifest of typical size: five artifacts with DAGs, and four mirrors."""
    names = ("kernel", "initramfs", "rootfs", "modules", "firmware")
    cid = "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e"
    return {
        "version": "2025.11.12",
        "channel": "stable",
        "arch": "amd64",
        "artifacts": dict.fromkeys(names, f"sha256:{'0123456789abcdef' * 4}"),
        "sizes": dict.fromkeys(names, 123456789),
        "dags": dict.fromkeys(names, cid),
        "issued": "2025-11-12T08:00:00Z",
        "expires": "2025-12-12T08:00:00Z",
        "cmdline": "quiet splash console=tty0 console=ttyS0,115200n8",
        "mirrors": [f"https://mirror{number}.example/phase-boot/" for number in range(4)],
        **more,
    }


def signed(body: dict[str, object]) -> bytes:
    """Return a manifest as `phase-boot publish` writes it, signed by three of five keys."""
    return with_signatures(body, signed_bytes(body), KEYS[:3])


def with_signatures(body: dict[str, object], message: bytes, keys: Sequence[SigningKey]) -> bytes:
    """Return a document with signatures of `message`, as indented JSON."""
    signatures = [
        {"keyid": key.keyid, "sig": base64.b64encode(key.sign(message)).decode()} for key in keys
    ]
    return json.dumps({**body, "signatures": signatures}, indent=2).encode()


def first_root() -> bytes:
    """Return a root with three root keys, two of which sign, and five publishers' keys."""
    body = root_of(1, ROOT_KEYS)
    return with_signatures(body, root.signed_bytes(body), ROOT_KEYS[:2])


def next_root() -> bytes:
    """Return the next root, which replaces one root key."""
    fresh = SigningKey(bytes([14]) * 32)
    body = root_of(2, (*ROOT_KEYS[1:], fresh))
    return with_signatures(body, root.signed_bytes(body), ROOT_KEYS)


def root_of(version: int, root_keys: Sequence[SigningKey]) -> dict[str, object]:
    """Return a root without signatures."""
    publishers = {"keys": [key.keyid for key in KEYS], "threshold": 3}
    return {
        "version": version,
        "root": {"keys": [key.keyid for key in root_keys], "threshold": 2},
        "channels": {"stable": {**publishers, "expires": "2026-11-01T00:00:00Z"}},
    }


def largest_state() -> tuple[Chain, bytes]:
    """Return a trust chain, and the largest rollback state of typical manifests under it."""
    chain = Chain(TRUST)
    seen = RollbackState()
    for number in range(MAX_SEEN):
        seen = seen.including(authenticate(signed(release(channel=f"lab{number}")), TRUST))
    return chain, write_state(seen, chain)


def verifying(raw: bytes) -> Action:
    """Return the complete verification of a manifest, from bytes on."""
    return lambda: verify(raw, trust=TRUST, requirements=REQUIREMENTS, now=NOW)


def bare_checks(raw: bytes) -> Action:
    """Return the three signature checks of a manifest alone."""
    document = read_document(raw)
    return _checks(document, signed_bytes(document))


def bare_root_checks(raw: bytes) -> Action:
    """Return the signature checks of a root alone, each once."""
    document = read_document(raw)
    return _checks(document, root.signed_bytes(document))


def _checks(document: dict[str, object], message: bytes) -> Action:
    pairs = [
        (
            nacl.signing.VerifyKey(bytes.fromhex(claim.keyid.partition(":")[2])),
            base64.b64decode(claim.sig),
        )
        for claim in claims_of(document)
    ]

    def check() -> None:
        for key, signature in pairs:
            key.verify(message, signature)

    return check


def slowest_hostile(rounds: int, runs: int) -> Times:
    """Measure all hostile documents and return the times of the slowest one."""
    found = [measure(rounds, runs, refusing(raw))[0] for raw in hostile()]
    return max(found, key=lambda times: median(times.medians))


def refusing(raw: bytes) -> Action:
    """Return the verification of a document that has to be refused."""

    def refuse() -> None:
        try:
            verify(raw, trust=TRUST, requirements=REQUIREMENTS, now=NOW)
        except Refusal:
            return
        raise AssertionError("A hostile document was accepted.")

    return refuse


def hostile() -> Iterator[bytes]:
    """Yield documents of the maximum size that are slow to parse, to canonicalize or to check."""
    forged = base64.b64encode(bytes(64)).decode()
    entries = [{"keyid": KEYS[0].keyid, "sig": forged}] * MAX_KEYS
    head = canonical({"signatures": entries})[:-1]
    room = MAX_BYTES - len(head) - 16
    for piece in (b"[],", b"0,", b'"",', b'"\\u00e9",', b'"\\n",', '"é",'.encode(), b"[{}],"):
        filling = piece * (room // len(piece))
        yield head + b',"x":[' + filling[:-1] + b"]}"
    names = b",".join(b'"%x":0' % number for number in range(room // 9))
    yield head + b',"x":{' + names + b"}}"
    texts = b",".join([b'"' + b"\\u0001" * 650 + b'"'] * (room // 3904))
    yield head + b',"x":[' + texts + b"]}"
    yield b"[" * MAX_BYTES
    yield b'{"x":"' + b'\\"' * (MAX_BYTES // 2 - 4)


if __name__ == "__main__":
    sys.exit(edge.run(main))
