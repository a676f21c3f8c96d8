"""The chunks that a manifest names are checked before signing and in the SITE."""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from phase_boot.content.cid import Cid, Codec
from phase_boot.content.dag_index import DagIndex
from phase_boot.content.digest import Digest
from phase_boot.drill.sample_manifest import KERNEL
from phase_boot.provider.backends.site_backend import open_served
from phase_boot.store.layout import dag_path, read_dag_path
from tests.support.dags import learn

Run = Callable[..., tuple[int, str, str]]

ROOTFS = random.Random(5).randbytes(2_000_000)  # noqa: S311 - repeatable, not secret
WORDS = (
    "publish --channel stable --arch amd64 --version 5 --kernel @/kernel --initramfs @/initramfs "
    "--rootfs @/rootfs --expires +9999d --out @/site"
)


@pytest.fixture
def dags(run: Run, workdir: Path) -> dict[str, Cid]:
    """Return what the manifest of a new SITE says of chunks."""
    (workdir / "rootfs").write_bytes(ROOTFS)
    assert run("key new @/key")[0] == 0
    assert run(f"{WORDS} --key @/key")[0] == 0
    document = json.loads((workdir / "site/stable/amd64/manifest.json").read_bytes())
    return {name: Cid.parse(text) for name, text in document["dags"].items()}


def test_each_artifact_has_its_chunks_in_the_site(workdir: Path, dags: dict[str, Cid]) -> None:
    assert set(dags) == {"kernel", "initramfs", "rootfs"}
    assert dags["kernel"] == Cid.of(Codec.RAW, KERNEL)
    assert {path.name for path in (workdir / "site/dag").iterdir()} == {f"{dags['rootfs']}.car"}
    index = DagIndex(dags["rootfs"], len(ROOTFS))
    learn(index, (workdir / "site" / dag_path(dags["rootfs"])).read_bytes())
    for chunk in index.chunks():
        assert Digest.of(ROOTFS[chunk.offset :][: chunk.size]).hex == chunk.digest.hex()


def test_the_dag_nodes_over_the_chunks_are_served(workdir: Path, dags: dict[str, Cid]) -> None:
    path = dag_path(dags["rootfs"])
    assert read_dag_path(path) == dags["rootfs"]
    served = open_served(workdir / "site", path)
    assert served is not None
    with served.file:
        assert served.file.read() == (workdir / "site" / path).read_bytes()
    assert (served.content_type, served.etag) == (
        "application/vnd.ipld.car",
        f'"{dags["rootfs"]}.interior"',
    )
    assert "immutable" in served.cache_control


@pytest.mark.parametrize(
    "path",
    [
        "dag/x.car",
        "dag/bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku",
        "dag/BAFKREIHDWDCEFGH4DQKJV67UZCMW7OJEE6XEDZDETOJUZJEVTENXQUVYKU.car",
        "dag/../cas/bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku.car",
        "cas/bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku.car",
    ],
)
def test_no_other_path_names_a_dag(path: str) -> None:
    assert read_dag_path(path) is None


def test_chunks_that_are_not_the_files_are_found_before_a_machine_does(
    run: Run, workdir: Path, dags: dict[str, Cid]
) -> None:
    keyid = run("key show @/key")[1].strip()
    car = workdir / "site" / dag_path(dags["rootfs"])
    whole = car.read_bytes()
    for damage, why in (
        (whole[:-1], "it ends too early"),
        (whole[:-1] + b"?", "invalid chunk list"),
        (None, "has no dag/"),
    ):
        car.unlink()
        if damage is not None:
            car.write_bytes(damage)
        status, out, _ = run(f"verify @/site --key {keyid}")
        assert (status, why in out) == (1, True), out


def test_no_signed_draft_is_published_without_the_chunks_that_it_names(
    run: Run, workdir: Path, dags: dict[str, Cid]
) -> None:
    draft = workdir / "site/stable/amd64/manifest.unsigned.json"
    assert run(f"{WORDS.replace('--version 5', '--version 6')} --unsigned")[0] == 0
    assert run(f"sign {draft} --key @/key")[0] == 0
    car = workdir / "site" / dag_path(dags["rootfs"])
    kept = car.read_bytes()
    car.unlink()
    status, _, err = run(f"publish --signed {draft} --out @/site")
    assert (status, f"rootfs has no {dag_path(dags['rootfs'])}" in err) == (1, True)
    car.write_bytes(kept)
    assert run(f"publish --signed {draft} --out @/site")[0] == 0


def test_without_numpy_the_message_names_what_to_install(
    run: Run, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("key new @/key")
    monkeypatch.setitem(sys.modules, "numpy", None)
    monkeypatch.delitem(sys.modules, "phase_boot.content.chunker", raising=False)
    status, _, err = run(f"{WORDS} --key @/key")
    assert status == 1
    assert err.endswith("install phase-boot with its extra, `pip install 'phase-boot[publish]'`.\n")
    assert not (workdir / "site/stable/amd64/manifest.json").exists()
