"""The JavaScript programs of IPFS: `ipns` validates our records, Helia fetches from our gateway."""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Final

import pytest

from phase_boot.content.chunker import DEFAULT_PARAMS, build_chunk_list
from phase_boot.content.dag_builder import build_dag
from phase_boot.content.digest import Digest
from phase_boot.drill.sample_manifest import INITRAMFS, KERNEL
from phase_boot.store.layout import dag_path, entry_path
from phase_boot.trust.ipns_name import IpnsName
from tests.support.announced_site import add_manifest, make_announced_site
from tests.support.ipns_records import NAME, OTHER_KEY, VALUE, record
from tests.support.provider import running
from tests.support.required_programs import absent

pytestmark = pytest.mark.interop

FOLDER: Final = Path(__file__).parents[2] / "build/tools/js"
SECONDS: Final = 60
ROOTFS: Final = random.Random(5).randbytes(3_000_000)  # noqa: S311 - repeatable, not secret
DAG: Final = build_dag(build_chunk_list(BytesIO(ROOTFS), DEFAULT_PARAMS))
NOW: Final = datetime.now(UTC)
LATER: Final = NOW + timedelta(days=2)


def program(name: str) -> list[str]:
    """Return the words that run a program of tests/interop/js."""
    if not (FOLDER / "key").exists():
        absent("the JavaScript programs are not installed: run `make js`")
    return [str(FOLDER / "python/bin/node"), str(FOLDER / name)]


def validated(raw: bytes, name: IpnsName = NAME) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [*program("record.mjs"), str(name)],
        input=raw,
        capture_output=True,
        check=False,
        timeout=SECONDS,
    )


def test_ipns_of_npm_accepts_our_record() -> None:
    done = validated(record(validity=LATER))
    assert json.loads(done.stdout) == {"value": VALUE, "sequence": 7}


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        (record(validity=NOW - timedelta(days=1)), NAME),
        (record(OTHER_KEY, validity=LATER), NAME),
        (record(validity=LATER), IpnsName(OTHER_KEY.keyid)),
        (record(validity=LATER)[:-1] + b"x", NAME),
    ],
    ids=["expired", "another key", "another name", "changed"],
)
def test_ipns_of_npm_refuses_what_we_refuse(raw: bytes, name: IpnsName) -> None:
    done = validated(raw, name)
    assert done.returncode == 1
    assert b"Error" in done.stderr
    assert done.stdout == b""


async def test_helia_fetches_a_file_from_our_gateway(tmp_path: Path) -> None:
    site = make_announced_site(tmp_path)
    (site / entry_path(Digest.of(ROOTFS))).write_bytes(ROOTFS)
    (site / "dag").mkdir()
    (site / dag_path(DAG.root)).write_bytes(b"".join(DAG.car()))
    files = {"kernel": KERNEL, "initramfs": INITRAMFS, "rootfs": ROOTFS}
    add_manifest(
        site,
        artifacts={name: str(Digest.of(data)) for name, data in files.items()},
        sizes={name: len(data) for name, data in files.items()},
        dags={"rootfs": str(DAG.root)},
    )
    async with running(site) as provider, asyncio.timeout(SECONDS):
        words = [*program("cat.mjs"), f"http://127.0.0.1:{provider.port}", str(DAG.root)]
        child = await asyncio.create_subprocess_exec(*words, stdout=subprocess.PIPE)
        try:
            found, _ = await child.communicate()
        finally:
            if child.returncode is None:
                child.kill()
        assert child.returncode == 0
    assert found == ROOTFS
    assert len({request.path for request in provider.requests}) > len(ROOTFS) // 1_048_576
