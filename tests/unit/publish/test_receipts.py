from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Final

import pytest

from phase_boot.content.arch import Arch
from phase_boot.content.chunk_list import ChunkList
from phase_boot.content.cid import Cid
from phase_boot.content.dag_builder import build_dag
from phase_boot.content.digest import Digest
from phase_boot.provider.limits import Limits
from phase_boot.provider.receipt_store import ReceiptStore
from phase_boot.store.layout import dag_path, entry_path
from phase_boot.trust.keys import SigningKey
from phase_boot.trust.manifest import Manifest, signed_bytes
from phase_boot.trust.receipt import Booted, Outcome, Receipt, sign_receipt
from phase_boot.trust.strict_json import read_document
from tests.support.kernels import arm64_image
from tests.support.publishing import PUBLISH, entries, manifest
from tests.support.receipts import MODULE, NODE, OTHER_NODE, job_table, receipt

Run = Callable[..., tuple[int, str, str]]
ISSUED = "--version 2025.11.12"


@pytest.fixture
def site(run: Run, workdir: Path, keyid: str) -> Path:
    """Return a SITE with a root and one version in it."""
    assert run("key new @/root.key")[0] == 0
    named = "root new @/site/root --key @/root.key --channel stable --expires +3650d"
    assert run(f"{named} --publisher {keyid}")[0] == 0
    assert run(f"{PUBLISH} {ISSUED}")[0] == 0
    return workdir / "site"


def of_this_boot(workdir: Path, key: SigningKey = NODE, **changes: object) -> Receipt:
    """Return the receipt of a machine that booted what is published now."""
    document = read_document(manifest(workdir).read_bytes())
    facts = Manifest.of(document)
    booted = Booted(
        version=facts.version,
        channel=facts.channel,
        manifest=Digest.of(signed_bytes(document)),
        pcrs={},
    )
    return receipt(booted=booted, node=key.keyid, **changes)


def hand_in(site: Path, key: SigningKey, what: Receipt) -> Path:
    return ReceiptStore(site, Limits()).add(sign_receipt(key, what), "192.0.2.7").path


def test_receipts_of_several_machines_are_listed(run: Run, workdir: Path, site: Path) -> None:
    hand_in(site, NODE, of_this_boot(workdir))
    failed = of_this_boot(workdir, OTHER_NODE, outcome=Outcome.OUT_OF_FUEL, exit=None)
    hand_in(site, OTHER_NODE, failed)
    status, out, err = run("receipts @/site")
    head, *rows = out.splitlines()
    assert status == 0
    assert max(map(len, (head, *rows))) <= 80
    assert {row.split()[0] for row in rows} == {
        key.keyid.removeprefix("ed25519:")[:12] for key in (NODE, OTHER_NODE)
    }
    assert sorted(row.split(None, 5)[5] for row in rows) == ["exited 0", "out-of-fuel"]
    assert all("2025.11.12" in row and "hello" in row for row in rows)
    assert err == "2 receipts of 2 machines: 1 ran, 0 invalid.\n"


def test_a_receipt_outlives_the_version_that_it_is_of(run: Run, workdir: Path, site: Path) -> None:
    hand_in(site, NODE, of_this_boot(workdir))
    assert run(f"{PUBLISH} --version 2025.11.13")[0] == 0
    hand_in(site, NODE, of_this_boot(workdir))
    status, out, _ = run("receipts @/site --json")
    assert status == 0
    versions = [json.loads(line)["receipt"]["booted"]["version"] for line in out.splitlines()]
    assert sorted(versions) == ["2025.11.12", "2025.11.13"]


def test_a_receipt_that_was_changed_in_the_folder_is_named(
    run: Run, workdir: Path, site: Path
) -> None:
    good = hand_in(site, NODE, of_this_boot(workdir))
    bad = hand_in(site, OTHER_NODE, of_this_boot(workdir, OTHER_NODE))
    bad.write_bytes(bad.read_bytes().replace(b'"wall_us":2100', b'"wall_us":2101'))
    status, out, err = run("receipts @/site")
    assert status == 1
    (row,) = [row for row in out.splitlines() if row.startswith("BAD")]
    assert bad.name[:12] in row
    assert "receipt.bad-signature" in row
    assert good.parent.name[:12] in out
    assert "1 invalid" in err


def test_a_receipt_under_a_name_that_is_not_its_own_is_named(
    run: Run, workdir: Path, site: Path
) -> None:
    path = hand_in(site, NODE, of_this_boot(workdir))
    path.rename(path.with_name("0" * 64 + ".json"))
    status, out, _ = run("receipts @/site")
    assert status == 1
    assert "so it was moved" in out


def test_a_manifest_that_no_publisher_signed_makes_no_receipt_true(
    run: Run, workdir: Path, site: Path
) -> None:
    assert run("key new @/stranger.key")[0] == 0
    foreign = PUBLISH.replace("--key @/key", "--key @/stranger.key")
    assert run(f"{foreign} --version 2025.11.13 --force")[0] == 0
    hand_in(site, NODE, of_this_boot(workdir))
    status, out, _ = run("receipts @/site")
    assert status == 1
    assert "[signature.untrusted]" in out


def test_a_node_key_that_signed_for_two_architectures_is_named(
    run: Run, workdir: Path, site: Path
) -> None:
    hand_in(site, NODE, of_this_boot(workdir))
    (workdir / "kernel").write_bytes(arm64_image())
    status, out, err = run(f"{PUBLISH.replace('amd64', 'arm64')} --version 2025.11.12 --force")
    assert status == 0, out + err
    document = read_document((site / "stable" / "arm64" / "manifest.json").read_bytes())
    digest = Digest.of(signed_bytes(document))
    first = of_this_boot(workdir)
    assert first.booted is not None
    copied = replace(
        first,
        arch=Arch.ARM64,
        booted=replace(first.booted, manifest=digest),
        started=first.started + timedelta(hours=1),
    )
    raw = sign_receipt(NODE, copied)
    folder = site / "receipts" / NODE.keyid.removeprefix("ed25519:")
    (folder / f"{Digest.of(raw).hex}.json").write_bytes(raw)
    status, out, err = run("receipts @/site")
    assert status == 1
    (row,) = [row for row in out.splitlines() if row.startswith("BAD")]
    assert "receipt.contradicted" in row
    assert "signed for amd64 before" in row


def test_without_trusted_keys_nothing_is_listed(run: Run, workdir: Path, site: Path) -> None:
    hand_in(site, NODE, of_this_boot(workdir))
    for root in (site / "root").iterdir():
        root.write_bytes(b"{}")
    status, out, err = run("receipts @/site")
    assert (status, out) == (1, "")
    assert "name one with --root" in err


@pytest.mark.usefixtures("keyid")
def test_a_job_is_signed_with_the_version_that_runs_it(run: Run, workdir: Path) -> None:
    (workdir / "module").write_bytes(MODULE)
    (workdir / "job").write_text(json.dumps(job_table()))
    assert run(f"{PUBLISH} --version 1 --job @/job --module @/module")[0] == 0
    (job,) = Manifest.of(read_document(manifest(workdir).read_bytes())).jobs
    assert (job.name, job.module) == ("hello", Digest.of(MODULE))
    assert Digest.of(MODULE).hex in entries(workdir)
    _, out, _ = run("sign --show", str(manifest(workdir)))
    assert f"hello runs {Digest.of(MODULE)}" in out
    assert "may read /usr/share/doc as /doc" in out


@pytest.mark.parametrize(
    ("job", "why"),
    [
        (json.dumps(job_table()), "--module"),
        (json.dumps(job_table(wall_ms=0)), "job.wall_ms"),
        (json.dumps(job_table(network=True)), "job.network"),
        ("[]", "no object"),
        ('{"name": "a", "name": "b"}', "twice"),
    ],
)
@pytest.mark.usefixtures("keyid")
def test_a_job_that_no_machine_could_run_is_not_published(
    run: Run, workdir: Path, job: str, why: str
) -> None:
    (workdir / "job").write_text(job)
    status, out, err = run(f"{PUBLISH} --version 1 --job @/job")
    assert (status, out) == (1, "")
    assert why in err
    assert not manifest(workdir).exists()


CID: Final = str(
    build_dag(ChunkList.of([(bytes.fromhex(Digest.of(MODULE).hex), len(MODULE))])).root
)


@pytest.mark.usefixtures("keyid")
def test_a_job_may_name_its_module_by_its_cid_too(run: Run, workdir: Path) -> None:
    (workdir / "module").write_bytes(MODULE)
    (workdir / "job").write_text(json.dumps(job_table(cid=CID)))
    assert run(f"{PUBLISH} --version 1 --job @/job --module @/module")[0] == 0
    (job,) = Manifest.of(read_document(manifest(workdir).read_bytes())).jobs
    assert str(job.cid) == CID


@pytest.mark.usefixtures("keyid")
def test_the_chunks_of_a_module_are_served_as_those_of_an_artifact(run: Run, workdir: Path) -> None:
    module = random.Random(1).randbytes(300_000)  # noqa: S311 - repeatable, not secret
    (workdir / "module").write_bytes(module)
    (workdir / "job").write_text(
        json.dumps(job_table(module=str(Digest.of(module)), size=len(module), cid=CID))
    )
    status, _, err = run(f"{PUBLISH} --version 1 --job @/job --module @/module")
    assert status == 1
    (cid,) = re.findall(r"its module has the CID (\w+)", err)
    assert not manifest(workdir).exists()
    (workdir / "job").write_text((workdir / "job").read_text().replace(CID, cid))
    assert run(f"{PUBLISH} --version 1 --job @/job --module @/module")[0] == 0
    assert (workdir / "site" / dag_path(Cid.parse(cid))).is_file()
    status, out, _ = run("verify @/site --key @/key --now 2025-11-20T00:00:00Z")
    assert status == 0
    assert f"ok  {dag_path(Cid.parse(cid))}: the chunks of the module of hello\n" in out


@pytest.mark.usefixtures("keyid")
def test_a_module_that_is_gone_from_a_site_is_found_before_a_machine_does(
    run: Run, workdir: Path
) -> None:
    (workdir / "module").write_bytes(MODULE)
    (workdir / "job").write_text(json.dumps(job_table()))
    assert run(f"{PUBLISH} --version 1 --job @/job --module @/module")[0] == 0
    assert run("verify @/site --key @/key --now 2025-11-20T00:00:00Z")[0] == 0
    (workdir / "site" / entry_path(Digest.of(MODULE))).unlink()
    status, out, _ = run("verify @/site --key @/key --now 2025-11-20T00:00:00Z")
    assert status == 1
    assert "the module of hello is missing" in out


@pytest.mark.parametrize("words", ["", " --key @/key"])
@pytest.mark.usefixtures("keyid")
def test_a_missing_site_is_an_error_of_receipts(run: Run, words: str) -> None:
    status, out, err = run(f"receipts @/nowhere{words}")
    assert (status, out) == (1, "")
    assert err.endswith("nowhere is not a folder: name the root of a SITE.\n")
