"""Vectors of jobs and receipts."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any, Final

from phase_boot.trust.keys import SigningKey
from tests.vectors.case import (
    MANIFEST,
    NODE,
    RECEIPT,
    UNTRUSTED_KEY,
    Body,
    Case,
    canonical,
    entries,
    manifest,
    message,
    spelled,
    text,
)
from tests.vectors.case import signed as signed_manifest

MODULE: Final = f"sha256:{hashlib.sha256(b'module').hexdigest()}"
SIGNED: Final = hashlib.sha256(message(manifest(), MANIFEST)).hexdigest()


def job(**changes: object) -> dict[str, object]:
    """Return a good job; None leaves a field out."""
    fields: dict[str, object] = {
        "name": "hello",
        "module": MODULE,
        "size": 6,
        "args": ["one", "caf\u00e9"],
        "stdin": "Phase Boot\n",
        "memory_mib": 16,
        "fuel": 10_000_000,
        "wall_ms": 5000,
        "output_kib": 16,
        "grants": [{"host": "/usr/share/doc", "guest": "/doc"}],
    }
    return {name: value for name, value in (fields | changes).items() if value is not None}


def digest(table: Body) -> str:
    """Return the name of a job."""
    return f"sha256:{hashlib.sha256(canonical(dict(table))).hexdigest()}"


def output(data: bytes) -> dict[str, object]:
    """Return what a receipt says of some output."""
    return {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}


def booted(**changes: object) -> dict[str, object]:
    """Return what a receipt says of a boot."""
    fields: dict[str, object] = {
        "version": "2025.11.12",
        "channel": "stable",
        "manifest": f"sha256:{SIGNED}",
        "pcrs": {"4": "ab" * 32},
    }
    return fields | changes


def body(**changes: object) -> dict[str, object]:
    """Return a good receipt without its signature."""
    fields: dict[str, object] = {
        "schema": 1,
        "job": {"name": "hello", "sha256": digest(job())[7:]},
        "module": MODULE,
        "runtime": "wasmtime 50.0.1",
        "arch": "amd64",
        "mode": "local",
        "booted": booted(),
        "started": "2025-11-20T07:30:05Z",
        "wall_us": 2100,
        "cpu_us": 1900,
        "memory_bytes": 65536,
        "fuel": 1234,
        "outcome": "exited",
        "exit": 0,
        "reason": "",
        "stdout": output(b"tooB esahP"),
        "stderr": output(b""),
        "node": NODE.keyid,
    }
    return fields | changes


def without(name: str) -> dict[str, object]:
    """Return a receipt that lacks a field."""
    return {field: value for field, value in body().items() if field != name}


def signed(fields: Body, *keys: SigningKey, context: bytes = RECEIPT) -> bytes:
    """Return a receipt as its file has it."""
    return canonical({**fields, "signatures": entries(fields, keys or (NODE,), context)})


def job_case(name: str, table: Body, verdict: str = "document.bad-field") -> Case:
    """Return a vector of a job."""
    wanted = {"digest": digest(table)} if verdict == "ok" else {}
    raw = spelled(table)
    return Case(
        name=f"job: {name}", kind="job", documents=[raw], trusted={}, wanted=wanted, verdict=verdict
    )


def case(name: str, raw: bytes, verdict: str = "ok", **more: Any) -> Case:
    """Return a vector of a receipt."""
    return Case(
        name=f"receipt: {name}",
        kind="receipt",
        documents=[raw],
        trusted={},
        verdict=verdict,
        **more,
    )


def cases() -> Iterator[Case]:
    """All vectors of jobs and receipts."""
    yield from _jobs()
    yield from _spellings()
    yield from _signatures()
    yield from _fields()
    yield from _expectations()


def _jobs() -> Iterator[Case]:
    yield job_case("complete", job(), "ok")
    yield job_case("no limits", {"name": "a", "module": MODULE, "size": 1}, "ok")
    yield job_case("unknown field", job(env={}))
    yield job_case("no name", job(name=None))
    yield job_case("name of a path", job(name="../hello"))
    yield job_case("module by its bare hex", job(module=MODULE[7:]))
    yield job_case("17 MiB", job(size=17 * 2**20))
    yield job_case("no fuel", job(fuel=0))
    yield job_case("memory of a text", job(memory_mib="16"))
    yield job_case("NUL in an argument", job(args=["a\0b"]))
    yield job_case("the whole machine granted", job(grants=[{"host": "/", "guest": "/x"}]))
    yield job_case("a way up granted", job(grants=[{"host": "/a/../b", "guest": "/x"}]))
    yield job_case("may write", job(grants=[{"host": "/a", "guest": "/x", "write": True}]))


def _spellings() -> Iterator[Case]:
    good = signed(body())
    yield case("signed", good)
    yield case("spaces behind it", good, "receipt.not-canonical", spaces=16384 - len(good))
    yield case("one byte too large", good, "document.too-large", spaces=16385 - len(good))
    yield case("names out of order", good[:1] + b'"z":1,' + good[1:], "receipt.not-canonical")
    yield case("needless escape", good.replace(b"hello", b"h\\u0065llo"), "receipt.not-canonical")
    yield case("one name twice", good[:-1] + b',"stdout":1}', "document.duplicate-key")
    yield case("four levels", signed(body(booted=booted(pcrs={"4": []}))), "document.too-deep")
    yield case("cut", good[:-1], "document.not-json")


def _signatures() -> Iterator[Case]:
    good, flipped = signed(body()), signed(body()).replace(b'"fuel":1234', b'"fuel":1235')
    yield case("one digit changed", flipped, "receipt.bad-signature")
    yield case("unsigned", canonical({**body(), "signatures": []}), "receipt.unsigned")
    yield case("no field for it", canonical(body()), "receipt.unsigned")
    yield case("signed twice", signed(body(), NODE, NODE), "receipt.unsigned")
    yield case("signed by two", signed(body(), NODE, UNTRUSTED_KEY), "receipt.unsigned")
    yield case("signed by another", signed(body(), UNTRUSTED_KEY), "receipt.wrong-signer")
    claimed = signed(body(), UNTRUSTED_KEY).replace(
        UNTRUSTED_KEY.keyid.encode(), NODE.keyid.encode()
    )
    yield case("signed in another's name", claimed, "receipt.bad-signature")
    yield case("manifest's context", signed(body(), context=MANIFEST), "receipt.bad-signature")
    yield case("base64 with a stray bit", _stray(good), "receipt.bad-signature")
    yield case("no key id", signed(body(node="me")), "document.bad-field")


def _stray(raw: bytes) -> bytes:
    """Return a receipt whose signature is spelled with one of the bits that base64 throws away."""
    sig = text(NODE.sign(message(body(), RECEIPT)))
    # The last letter before == carries four bits that say nothing; A, Q, g and w have none set.
    stray = sig[:-3] + chr(ord(sig[-3]) + 1) + "=="
    return raw.replace(sig.encode(), stray.encode())


def _fields() -> Iterator[Case]:
    yield case("not booted by us", signed(body(booted=None, mode="none")))
    yield case("no TPM", signed(body(booted=booted(pcrs={}))))
    ended = body(outcome="out-of-fuel", exit=None, reason="used up its 10000000 of fuel")
    yield case("out of fuel", signed(ended))
    bad = "document.bad-field"
    yield case("another schema", signed(body(schema=2)), bad)
    yield case("a field more", signed(body(note="x")), bad)
    yield case("a field less", signed(without("cpu_us")), bad)
    yield case("trapped with a status", signed(body(outcome="trapped")), bad)
    yield case("exited without one", signed(body(exit=None)), bad)
    yield case("unknown outcome", signed(body(outcome="fine")), bad)
    yield case("reason that speaks to a terminal", signed(body(reason="\x1b[2J")), bad)
    yield case("kernel's name of the architecture", signed(body(arch="x86_64")), bad)
    yield case(
        "register that there is not", signed(body(booted=booted(pcrs={"24": "0" * 64}))), bad
    )
    yield case("register by sha1", signed(body(booted=booted(pcrs={"4": "0" * 40}))), bad)
    yield case("negative time", signed(body(wall_us=-1)), bad)


def _expectations() -> Iterator[Case]:
    good = signed(body())
    whole = text(signed_manifest(manifest()))
    wanted = {"node": NODE.keyid, "module": MODULE, "manifest": whole}
    yield case("of that machine, module and boot", good, wanted=wanted)
    yield case(
        "of another machine", good, "receipt.wrong-node", wanted={"node": UNTRUSTED_KEY.keyid}
    )
    other = f"sha256:{'0' * 64}"
    yield case("of another module", good, "receipt.wrong-module", wanted={"module": other})
    newer = {"manifest": text(signed_manifest(manifest(version="2025.11.13")))}
    wrong = "receipt.wrong-manifest"
    yield case("of another manifest", good, wrong, wanted=newer)
    lie = signed(body(booted=booted(version="2025.11.13")))
    yield case("of another version than its manifest", lie, wrong, wanted=wanted)
    yield case(
        "of another channel", signed(body(booted=booted(channel="lab"))), wrong, wanted=wanted
    )
    yield case("of another architecture", signed(body(arch="arm64")), wrong, wanted=wanted)
    yield case("of nothing booted", signed(body(booted=None)), wrong, wanted=wanted)
    yield from _claims()


def _claims() -> Iterator[Case]:
    listed = manifest(jobs=[job()])
    wanted = {"manifest": text(signed_manifest(listed))}
    named = f"sha256:{hashlib.sha256(message(listed, MANIFEST)).hexdigest()}"
    true = body(booted=booted(manifest=named))
    yield case("of a job of its manifest", signed(true), wanted=wanted)
    lies: dict[str, dict[str, object]] = {
        "another module than its job names": {"module": f"sha256:{'1' * 64}"},
        "a job of the manifest by another name": {
            "job": {"name": "other", "sha256": digest(job())[7:]}
        },
        "more fuel than its job has": {"fuel": 10_000_001},
        "more memory than its job has": {"memory_bytes": 16 * 2**20 + 1},
        "more output than its job may write": {"stdout": output(b"x" * (16 * 1024 + 1))},
        "hours for a job of seconds": {"wall_us": 7_200_000_000},
        "a start long after the manifest expired": {"started": "2030-01-01T00:00:00Z"},
        "no mode and yet a boot": {"mode": "none"},
        "a reason for an exit": {"reason": "because"},
        "fuel for a job that was not run": {"outcome": "not-run", "exit": None},
        "the hash of some bytes for none": {"stderr": {**output(b"x"), "bytes": 0}},
    }
    for lie, changes in lies.items():
        raw = signed({**true, **changes})
        yield case(f"claims {lie}", raw, "receipt.contradicted", wanted=wanted)
