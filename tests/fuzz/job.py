"""Jobs, as a rootfs or a manifest has them."""

from __future__ import annotations

from phase_boot.trust.job import MAX_ARGS, MAX_GRANTS, MAX_MODULE, Job, read_job
from phase_boot.trust.refusals import Refusal
from phase_boot.trust.strict_json import canonical, read_document
from tests.fuzz.target import Target
from tests.support.receipts import job_table


def one(data: bytes) -> None:
    try:
        job = read_job(data)
    except Refusal:
        return
    assert 1 <= job.size <= MAX_MODULE
    assert len(job.args) <= MAX_ARGS
    assert all("\0" not in arg for arg in job.args)
    assert len(job.grants) <= MAX_GRANTS
    for grant in job.grants:
        parts = grant.host.split("/")
        assert parts[0] == ""
        assert not {"", ".", ".."} & set(parts[1:])
    assert min(job.memory_mib, job.fuel, job.wall_ms, job.output_kib) >= 1
    assert Job.of(read_document(canonical(read_document(data)))) == job


_CID = "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e"

TARGET = Target(
    one=one,
    starts={
        "good": canonical(job_table()),
        "cid": canonical(job_table(cid=_CID)),
        "least": canonical({name: job_table()[name] for name in ("name", "module", "size")}),
        "bad-grant": canonical(job_table(grants=[{"host": "/a/../b", "guest": "/x"}])),
        "unknown": canonical(job_table(env={})),
    },
    max_len=8 * 1024,
    words=(
        *(b'"%s":' % name.encode() for name in (*job_table(), "cid", "host", "guest")),
        b'"/../"',
        b"\\u0000",
        b"16777216",
        b"1000000000000",
    ),
)
