"""The roots of a SITE, and the CAR of a whole DAG that is built from its files."""

from __future__ import annotations

import hashlib
import json
import tracemalloc
from io import BytesIO
from pathlib import Path

import pytest

from phase_boot.announce.site_roots import DamagedFile, SiteRoot, dag_car, root_car, site_roots
from phase_boot.content import car
from phase_boot.content.arch import Arch
from phase_boot.content.artifact import Artifact
from phase_boot.content.chunker import DEFAULT_PARAMS, build_chunk_list
from phase_boot.content.cid import Cid, Codec
from phase_boot.content.dag_builder import build_dag
from phase_boot.content.digest import Digest
from phase_boot.content.list_file import list_car, list_root
from phase_boot.publish.errors import PublishError
from phase_boot.store.layout import dag_path, entry_path, manifest_path
from tests.support.announced_site import STABLE, add_manifest
from tests.support.block_servers import FILES, ROOTFS, artifact, dag_of, make_dag_site

WHOLE = artifact("rootfs")
ROOT = dag_of("rootfs").root


@pytest.fixture
def site(tmp_path: Path) -> Path:
    return make_dag_site(tmp_path)


def sent(site: Path) -> bytes:
    return b"".join(dag_car(site, ROOT, WHOLE))


def test_the_roots_are_the_manifest_and_the_dag_of_each_file(site: Path) -> None:
    raw = (site / manifest_path(*STABLE)).read_bytes()
    manifest, *dags = site_roots(site, [STABLE])
    assert (manifest.cid, manifest.manifest) == (Cid.of(Codec.RAW, raw), raw)
    assert {each.cid: each.artifact for each in dags} == {
        dag_of(name).root: artifact(name) for name in FILES
    }
    assert {each.name for each in dags} == {f"stable/amd64/manifest.json {name}" for name in FILES}


def test_a_file_of_two_manifests_is_one_root(site: Path) -> None:
    dags = {name: str(dag_of(name).root) for name in FILES}
    artifacts = {name: str(Digest.of(data)) for name, data in FILES.items()}
    sizes = {name: len(data) for name, data in FILES.items()}
    add_manifest(site, "beta", artifacts=artifacts, sizes=sizes, dags=dags)
    assert len(site_roots(site, [STABLE, ("beta", Arch.AMD64)])) == len(FILES) + 2


def test_the_module_of_a_job_is_a_root(site: Path) -> None:
    cid = Cid.of(Codec.RAW, b"module")
    module = {"name": "job", "module": str(Digest.of(b"module")), "size": 6}
    add_manifest(site, jobs=[{**module, "cid": str(cid)}])
    _, root = site_roots(site, [STABLE])
    assert (root.cid, root.artifact) == (cid, Artifact("job", Digest.of(b"module"), 6))


def with_a_chunk_list(site: Path, listed: Cid) -> SiteRoot:
    """Name the list of the rootfs in the manifest; return the root that it is."""
    body = json.loads((site / manifest_path(*STABLE)).read_bytes())
    kept = {name: body[name] for name in ("artifacts", "sizes", "dags")}
    add_manifest(site, **kept, chunk_lists={"rootfs": str(listed)})
    (found,) = (each for each in site_roots(site, [STABLE]) if each.listed is not None)
    assert (found.cid, found.listed, found.artifact) == (listed, ROOT, None)
    return found


def test_the_chunk_list_of_a_file_is_a_root(site: Path) -> None:
    nodes = (site / dag_path(ROOT)).read_bytes()
    root = with_a_chunk_list(site, list_root(nodes))
    blocks = root_car(site, root)
    assert blocks is not None
    assert b"".join(blocks) == b"".join(list_car(nodes))


@pytest.mark.parametrize("change", [b"", b"x"])
def test_a_chunk_list_that_changed_is_not_sent(site: Path, change: bytes) -> None:
    path = site / dag_path(ROOT)
    root = with_a_chunk_list(site, list_root(path.read_bytes()))
    if change:
        path.write_bytes(path.read_bytes() + change)
    else:
        path.unlink()
    blocks = root_car(site, root)
    assert blocks is not None
    with pytest.raises(DamagedFile, match=r"dag/.*\.car"):
        next(blocks)


@pytest.mark.parametrize("raw", [None, b"no json"])
def test_a_manifest_that_cannot_be_read_is_refused(site: Path, raw: bytes | None) -> None:
    path = site / manifest_path(*STABLE)
    path.unlink()
    if raw is not None:
        path.write_bytes(raw)
    with pytest.raises(PublishError, match=r"manifest\.json"):
        site_roots(site, [STABLE])


def test_the_car_has_every_block_once(site: Path) -> None:
    blocks = list(car.blocks(sent(site), limit=2 * len(ROOTFS)))
    leaves = {cid: block for cid, block in blocks if cid.codec is Codec.RAW}
    assert len(dict(blocks)) == len(blocks)
    assert blocks[0][0] == ROOT
    chunks = list(build_chunk_list(BytesIO(ROOTFS), DEFAULT_PARAMS))
    assert len(leaves) == len({chunk.digest for chunk in chunks}) < len(chunks)
    found = (leaves[Cid(Codec.RAW, Digest(chunk.digest.hex()))] for chunk in chunks)
    assert b"".join(found) == ROOTFS


def test_a_file_of_one_block_needs_no_list_of_chunks(site: Path) -> None:
    root = dag_of("kernel").root
    assert root.codec is Codec.RAW
    whole = b"".join(dag_car(site, root, artifact("kernel")))
    assert list(car.blocks(whole, limit=len(whole))) == [(root, FILES["kernel"])]


def test_a_large_file_is_never_whole_in_memory(site: Path) -> None:
    data = b"".join(hashlib.sha512(bytes([n % 256, n // 256])).digest() * 512 for n in range(512))
    whole = Artifact("rootfs", Digest.of(data), len(data))
    dag = build_dag(build_chunk_list(BytesIO(data), DEFAULT_PARAMS))
    (site / entry_path(whole.digest)).write_bytes(data)
    (site / dag_path(dag.root)).write_bytes(b"".join(dag.car()))
    tracemalloc.start()
    count = sum(map(len, dag_car(site, dag.root, whole)))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count > 0
    assert most < len(data) // 8


def test_a_changed_byte_ends_the_car_before_its_block(site: Path) -> None:
    changed = bytearray(ROOTFS)
    changed[-1] ^= 1
    (site / entry_path(WHOLE.digest)).write_bytes(changed)
    with pytest.raises(DamagedFile, match="other bytes than its DAG"):
        sent(site)


def test_a_file_that_ends_early_is_not_sent(site: Path) -> None:
    (site / entry_path(WHOLE.digest)).write_bytes(ROOTFS[:-1])
    with pytest.raises(DamagedFile, match="other bytes than its DAG"):
        sent(site)


@pytest.mark.parametrize("path", [entry_path(WHOLE.digest), dag_path(ROOT)])
def test_a_file_that_is_absent_or_a_link_is_not_sent(site: Path, path: str) -> None:
    kept = (site / path).rename(site.parent / "kept")
    with pytest.raises(DamagedFile, match="cannot be read"):
        sent(site)
    (site / path).symlink_to(kept)
    with pytest.raises(DamagedFile, match="cannot be read"):
        sent(site)


@pytest.mark.parametrize("change", ["cut", "other", "longer"])
def test_a_damaged_list_of_chunks_is_not_sent(site: Path, change: str) -> None:
    path = site / dag_path(ROOT)
    raw = path.read_bytes()
    damaged = {"cut": raw[:-1], "other": raw[:-1] + bytes([raw[-1] ^ 1]), "longer": raw + b"x"}
    path.write_bytes(damaged[change])
    with pytest.raises(DamagedFile, match="is not the DAG of the file"):
        sent(site)
