"""Which parts of its boot record a booted system accepts."""

from __future__ import annotations

import json

import pytest

from phase_boot.content.digest import Digest
from phase_boot.drill.sample_manifest import PUBLISHER, UNTRUSTED_KEY
from phase_boot.handoff.document import ManifestSource
from phase_boot.plasma.boot_record import BootRecord, InvalidHandoff
from policies.model import Mode
from tests.support.handed_over import PROVIDER_URL, RUNNING, handed_over
from tests.support.manifests import REQUIREMENTS, SECOND
from tests.support.receipts import booted, job_table

SOURCE = ManifestSource(
    manifest=f"{PROVIDER_URL}/stable/amd64/manifest.json", provider=PROVIDER_URL
)


def changed(raw: bytes, **fields: object) -> bytes:
    return json.dumps({**json.loads(raw), **fields}).encode()


def test_a_receipt_states_the_facts_of_the_boot_record() -> None:
    record = BootRecord.of(handed_over(), RUNNING)
    assert record.booted({4: "ab" * 32}) == booted()
    assert (record.mode, record.arch) == (Mode.INTERNET, REQUIREMENTS.arch)
    assert (record.signers, record.proxy) == ((PUBLISHER.keyid,), "http://192.0.2.1:3128")


def test_the_boot_record_has_the_jobs_of_the_manifest() -> None:
    record = BootRecord.of(handed_over(jobs=[job_table()]), RUNNING)
    assert [job.name for job in record.manifest.jobs] == ["hello"]


def test_the_provider_of_the_manifest_comes_before_those_of_artifacts() -> None:
    sources = {"kernel": "https://far.example", "initramfs": PROVIDER_URL, "rootfs": "store"}
    record = BootRecord.of(handed_over(sources=sources, manifest_source=SOURCE), RUNNING)
    assert record.providers == (PROVIDER_URL, "https://far.example")
    assert record.sources == (*record.providers, "https://mirror.example/stable")


def test_a_provider_with_a_query_is_asked_without_it_too() -> None:
    source = ManifestSource(manifest=f"{SOURCE.manifest}?key=1", provider=f"{PROVIDER_URL}?key=1")
    record = BootRecord.of(handed_over(manifest_source=source), RUNNING)
    assert record.providers == (f"{PROVIDER_URL}?key=1", PROVIDER_URL)


def test_a_manifest_outside_the_mirror_layout_has_no_provider() -> None:
    source = ManifestSource(manifest=f"{PROVIDER_URL}/m.json", provider="")
    assert BootRecord.of(handed_over(manifest_source=source), RUNNING).providers == ()


def test_journal_lines_name_no_provider() -> None:
    line = json.dumps({"event": "manifest.verified", "seq": 1, "url": SOURCE.manifest})
    record = BootRecord.of(changed(handed_over(), journal=[line]), RUNNING)
    assert record.providers == ()


def test_a_boot_from_cache_alone_has_no_provider() -> None:
    record = BootRecord.of(handed_over(sources={"rootfs": "store"}), RUNNING)
    assert record.providers == ()


def test_in_private_mode_no_provider_is_contacted() -> None:
    raw = changed(
        handed_over(mode="private"),
        sources={"rootfs": PROVIDER_URL},
        origin={"manifest": SOURCE.manifest, "provider": PROVIDER_URL},
    )
    record = BootRecord.of(raw, RUNNING)
    assert record.private
    assert (record.providers, record.sources) == ((), ())


def test_a_changed_manifest_in_the_document_is_refused() -> None:
    raw = handed_over()
    manifest = json.loads(raw)["manifest"]
    with pytest.raises(InvalidHandoff, match="signature"):
        BootRecord.of(changed(raw, manifest=manifest.replace("quiet", "noisy")), RUNNING)


@pytest.mark.parametrize("signers", [[], [UNTRUSTED_KEY.keyid], [PUBLISHER.keyid, SECOND.keyid]])
def test_every_named_signer_must_have_signed(signers: list[str]) -> None:
    with pytest.raises(InvalidHandoff):
        BootRecord.of(changed(handed_over(), signers=signers), RUNNING)


def test_a_version_other_than_the_manifest_s_is_refused() -> None:
    with pytest.raises(InvalidHandoff, match=r"names version 2099\.1, and the manifest 2025"):
        BootRecord.of(changed(handed_over(), version="2099.1"), RUNNING)


def test_a_document_of_another_rootfs_is_refused() -> None:
    with pytest.raises(InvalidHandoff, match="another rootfs"):
        BootRecord.of(handed_over(), Digest.of(b"another"))


@pytest.mark.parametrize("raw", [b"", b"{}", b"\xff", b"[" * 100])
def test_a_missing_document_is_reported(raw: bytes) -> None:
    with pytest.raises(InvalidHandoff):
        BootRecord.of(raw, RUNNING)


def test_an_unknown_mode_is_refused() -> None:
    with pytest.raises(InvalidHandoff):
        BootRecord.of(changed(handed_over(), mode="public"), RUNNING)
