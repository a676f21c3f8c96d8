"""Jobs: the fields that are read, and refusals by the name of the field."""

from __future__ import annotations

import json

import pytest

from phase_boot.content.digest import Digest
from phase_boot.drill.sample_manifest import document, encoded
from phase_boot.trust.job import (
    FUEL,
    MAX_JOBS,
    MEMORY_MIB,
    OUTPUT_KIB,
    WALL_MS,
    Grant,
    Job,
    job_digest,
    read_job,
)
from phase_boot.trust.manifest import Manifest
from phase_boot.trust.refusals import BadField, NotJson
from phase_boot.trust.strict_json import canonical, read_document
from tests.support.receipts import MODULE, job, job_table

CID = "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e"


def test_the_fields_of_a_job_are_read() -> None:
    found = read_job(encoded(job_table(cid=CID)))
    assert found.name == "hello"
    assert found.module == Digest.of(MODULE)
    assert found.size == 8
    assert str(found.cid) == CID
    assert found.args == ("hello", "again")
    assert found.stdin == "Phase Boot\n"
    assert (found.memory_mib, found.fuel) == (16, 10_000_000)
    assert (found.wall_ms, found.output_kib) == (5000, 16)
    assert found.grants == (Grant("/usr/share/doc", "/doc"),)


def test_a_job_that_names_no_limits_has_the_usual_ones() -> None:
    found = Job.of({"name": "a", "module": str(Digest.of(MODULE)), "size": 1})
    assert (found.memory_mib, found.fuel) == (MEMORY_MIB, FUEL) == (64, 10**9)
    assert (found.wall_ms, found.output_kib) == (WALL_MS, OUTPUT_KIB) == (10_000, 64)
    assert (found.cid, found.args, found.stdin, found.grants) == (None, (), "", ())


def test_the_digest_of_a_job_is_that_of_its_one_spelling() -> None:
    table = job_table()
    raw = canonical(table)
    assert job().digest == job_digest(table) == Digest.of(raw)
    assert read_job(json.dumps(table, indent=3).encode()).digest == Digest.of(raw)
    assert read_job(encoded(job_table(fuel=10_000_001))).digest != Digest.of(raw)


def test_an_invalid_document_is_refused_as_a_job() -> None:
    with pytest.raises(NotJson):
        read_job(b"[]")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", None),
        ("name", "Hello"),
        ("name", "-a"),
        ("name", "a" * 33),
        ("name", "../a"),
        ("name", 7),
        ("module", None),
        ("module", "a" * 64),
        ("module", f"sha256:{'A' * 64}"),
        ("size", None),
        ("size", 0),
        ("size", 16 * 2**20 + 1),
        ("size", True),
        ("cid", "bafy"),
        ("cid", 7),
        ("args", "hello"),
        ("args", ["a"] * 33),
        ("args", ["a" * 1025]),
        ("args", ["a\0b"]),
        ("args", [7]),
        ("stdin", 7),
        ("stdin", "x" * 4097),
        ("memory_mib", 0),
        ("memory_mib", 1025),
        ("memory_mib", "16"),
        ("fuel", 0),
        ("fuel", 10**12 + 1),
        ("wall_ms", 0),
        ("wall_ms", 600_001),
        ("output_kib", 0),
        ("output_kib", 1025),
        ("grants", {}),
        ("grants", [{"host": "/a", "guest": f"/{n}"} for n in range(9)]),
        ("grants", ["/a"]),
        ("grants", [{"host": "/a"}]),
        ("grants", [{"host": "/a", "guest": "/a", "write": True}]),
        ("grants", [{"host": "/a", "guest": "/x"}, {"host": "/b", "guest": "/x"}]),
        ("grants", [{"host": "/", "guest": "/x"}]),
        ("grants", [{"host": "a", "guest": "/x"}]),
        ("grants", [{"host": "/a/", "guest": "/x"}]),
        ("grants", [{"host": "/a/../b", "guest": "/x"}]),
        ("grants", [{"host": "/..", "guest": "/x"}]),
        ("grants", [{"host": "/./a", "guest": "/x"}]),
        ("grants", [{"host": 7, "guest": "/x"}]),
        ("grants", [{"host": "/a", "guest": "x"}]),
        ("grants", [{"host": "/a", "guest": "/"}]),
        ("grants", [{"host": "/a", "guest": "/.."}]),
        ("grants", [{"host": "/a", "guest": "/x/y"}]),
        ("env", {"A": "b"}),
    ],
)
def test_a_field_of_a_job_out_of_its_bounds_is_refused_by_name(field: str, value: object) -> None:
    with pytest.raises(BadField, match=rf"The field job\.{field}"):
        job(**{field: value})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"env": {}}, "job.env is not usable (no such field)"),
        ({"name": None}, "job.name is not usable (missing)"),
        ({"size": 0}, "job.size is not usable (not a whole number from 1 to 16777216)"),
        ({"args": 7}, "job.args is not usable (not a list of at most 32)"),
        ({"stdin": "x" * 4097}, "job.stdin is not usable (longer than 4096 characters)"),
        ({"fuel": 0}, "job.fuel is not usable (not a whole number from 1 to 1000000000000)"),
        ({"wall_ms": 0}, "job.wall_ms is not usable (not a whole number from 1 to 600000)"),
        ({"output_kib": 0}, "job.output_kib is not usable (not a whole number from 1 to 1024)"),
        ({"memory_mib": 0}, "job.memory_mib is not usable (not a whole number from 1 to 1024)"),
        ({"cid": "b"}, "job.cid is not usable (a CID here is b and 58 characters of base32)"),
        ({"module": "x"}, "job.module is not usable (a digest starts with sha256:)"),
        ({"grants": 7}, "job.grants is not usable (not a list of at most 8)"),
        ({"grants": [7]}, "job.grants is not usable (an entry is not a host and a guest folder)"),
        (
            {"grants": [{"host": "/a", "guest": "/x"}] * 2},
            "job.grants is not usable (two of one guest name)",
        ),
        (
            {"grants": [{"host": "/", "guest": "/x"}]},
            "job.grants.host is not usable (too long, or with characters that do not",
        ),
        (
            {"grants": [{"host": "/a", "guest": "/"}]},
            "job.grants.guest is not usable (too long, or with characters that do not",
        ),
    ],
)
def test_the_message_about_a_job_field_names_the_reason(
    changes: dict[str, object], message: str
) -> None:
    with pytest.raises(BadField) as refused:
        job(**changes)
    assert str(refused.value).startswith(f"The field {message}")


def test_the_bounds_of_a_job_are_allowed() -> None:
    found = job(
        name="a" * 32,
        size=16 * 2**20,
        args=["\u00e9" * 1024] * 32,
        stdin="x" * 4096,
        memory_mib=1024,
        fuel=10**12,
        wall_ms=600_000,
        output_kib=1024,
        grants=[{"host": f"/..a/.b/{n}", "guest": f"/{n}{'a' * 31}"} for n in range(8)],
    )
    assert len(found.args) == 32
    assert len(found.grants) == 8
    assert job(memory_mib=1, fuel=1, wall_ms=1, output_kib=1, size=1).fuel == 1
    assert len(job(grants=[{"host": "/a" * 8, "guest": "/x"}]).grants) == 1
    assert len(job(grants=[{"host": f"/{'a' * 64}", "guest": "/x"}]).grants) == 1


def test_a_manifest_without_jobs_has_none() -> None:
    assert Manifest.of(document()).jobs == ()


def test_the_jobs_of_a_manifest_are_read_in_their_order_and_two_may_have_one_name() -> None:
    tables = [job_table(name=name) for name in ("b", "a", "b")]
    manifest = Manifest.of(read_document(encoded(document(jobs=tables))))
    assert [found.name for found in manifest.jobs] == ["b", "a", "b"]
    assert manifest.jobs[1] == job(name="a")
    assert len(Manifest.of(document(jobs=[job_table()] * MAX_JOBS)).jobs) == 16


@pytest.mark.parametrize(
    ("jobs", "message"),
    [
        ({}, "jobs is not usable (not a list of at most 16)"),
        ([job_table()] * 17, "jobs is not usable (not a list of at most 16)"),
        (["hello"], "jobs.0 is not usable (not an object)"),
        ([job_table(), job_table(fuel=0)], "jobs.1.fuel is not usable (not a whole number"),
        ([job_table(run="sh")], "jobs.0.run is not usable (no such field)"),
    ],
)
def test_a_manifest_with_a_bad_job_is_refused(jobs: object, message: str) -> None:
    with pytest.raises(BadField) as refused:
        Manifest.of(document(jobs=jobs))
    assert str(refused.value).startswith(f"The field {message}")
