"""Checks of a manifest or a whole SITE, with the rules of the machines that boot from it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from phase_boot.content.arch import Arch
from phase_boot.content.artifact import Artifact
from phase_boot.content.cid import Cid
from phase_boot.content.version import Version
from phase_boot.publish.check.chunk_check import index_fault
from phase_boot.publish.check.handoff_check import (
    fault_in_initramfs,
    handoff_fault,
    handoff_warnings,
)
from phase_boot.publish.check.image_check import UnbootableError, boot_warnings
from phase_boot.publish.check.record_check import check_record, record_files
from phase_boot.publish.errors import PublishError
from phase_boot.publish.roots.folder import build_chain, read_roots
from phase_boot.store.layout import ENTRIES, MANIFEST, dag_path, entry_path, read_manifest_path
from phase_boot.trust.chain import Chain
from phase_boot.trust.manifest import Manifest
from phase_boot.trust.refusals import Refusal
from phase_boot.trust.strict_json import MAX_BYTES, read_document
from phase_boot.trust.verify import BootRequirements, Verified, verify


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """Conditions of a check. None means the value in the manifest itself."""

    chain: Chain
    """The trusted keys."""
    now: datetime
    min_version: Version
    arch: Arch | None = None
    channel: str | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check: its subject, whether it passed, and why, in a few words."""

    subject: str
    good: bool
    text: str

    def as_json(self) -> str:
        """Return it as one line of JSON."""
        return json.dumps({"subject": self.subject, "good": self.good, "text": self.text})


def check(path: Path, terms: Terms) -> Iterator[Finding]:
    """Yield the findings at ``path``: a manifest file, or the root of a SITE.

    Raises:
        PublishError: it cannot be read.
    """
    try:
        if path.is_dir():
            yield from _check_site(path, terms)
        else:
            finding, verified = _check_manifest(path, str(path), terms)
            yield finding
            if verified is not None:
                yield from _check_handoff(str(path), verified.manifest)
    except OSError as error:
        raise PublishError(f"{error.filename or path} cannot be read: {error.strerror}.") from error


def check_roots(folder: Path, given: Path | None = None) -> tuple[Chain | None, list[Finding]]:
    """Return the chain of roots that machines follow in ``folder``, and a finding for each root.

    The trusted root is ``given``, or else the oldest one.

    Raises:
        PublishError: a file cannot be read.
    """
    root_files = list(read_roots(folder, given)) if folder.is_dir() else []
    findings = []
    for number, found in enumerate(root_files):
        text = "follows" if number or given else "trusted as given (--root names another)"
        subject = f"{folder.name}/{found.path.name}"
        findings.append(Finding(subject, good=found.fault is None, text=found.fault or text))
    chain = build_chain(root_files, given)
    if chain is None and not findings:
        findings.append(Finding(str(folder), good=False, text="has no root"))
    return chain, findings


def _check_manifest(path: Path, subject: str, terms: Terms) -> tuple[Finding, Verified | None]:
    with path.open("rb") as file:
        raw = file.read(MAX_BYTES + 1)
    try:
        manifest = Manifest.of(read_document(raw))
        requirements = BootRequirements(
            arch=terms.arch or manifest.arch,
            channel=terms.channel or manifest.channel,
            min_version=terms.min_version,
        )
        trust = terms.chain.trust(requirements.channel, terms.now)
        verified = verify(raw, trust=trust, requirements=requirements, now=terms.now)
    except Refusal as refusal:
        return Finding(subject, good=False, text=f"{refusal} [{refusal.code}]"), None
    signers = ", ".join(verified.signers)
    text = f"version {manifest.version}, until {manifest.expires:%Y-%m-%d}, signed by {signers}"
    return Finding(subject, good=True, text=text), verified


def _check_site(root: Path, terms: Terms) -> Iterator[Finding]:
    hashed = {path.name: _sha256(path) for path in sorted((root / ENTRIES).glob("*"))}
    found = False
    for path in sorted(root.glob(f"*/*/{MANIFEST}")):
        subject = path.relative_to(root).as_posix()
        release = read_manifest_path(subject)
        if release is None:
            continue
        found = True
        channel, arch = release
        finding, verified = _check_manifest(path, subject, _terms_for(terms, channel, arch))
        yield finding
        if verified is not None:
            yield from _check_handoff(subject, verified.manifest)
            whole = True
            for artifact, dag in _needed_artifacts(verified.manifest):
                found_so = _check_artifact(root, artifact, hashed)
                whole = whole and found_so.good
                yield found_so
                if found_so.good and dag is not None:
                    yield _check_dag(root, artifact, dag)
            if whole:
                yield from _check_images(root, subject, verified.manifest)
    for name, actual in hashed.items():
        if actual != name:
            text = f"has the sha256 {actual}" if actual else "is not a plain file"
            yield Finding(f"{ENTRIES}/{ascii(name)[1:-1]}", good=False, text=text)
    yield from _check_records(root, terms)
    if not found:
        yield Finding(str(root), good=False, text="has no <channel>/<arch>/manifest.json")


def _check_records(root: Path, terms: Terms) -> Iterator[Finding]:
    """Yield the findings about the IPNS records of a SITE, whose paths are untrusted text."""
    for path in record_files(root):
        checked, subject = check_record(root, path, terms.chain, terms.now), ascii(path)[1:-1]
        yield Finding(subject, good=checked.good, text=checked.text)
        for sentence in checked.warnings:
            yield Finding(subject, good=True, text=f"warning: {sentence}")


def _check_handoff(subject: str, manifest: Manifest) -> Iterator[Finding]:
    """Yield the faults and warnings of the handoff for a manifest."""
    fault = handoff_fault(manifest)
    if fault is not None:
        yield Finding(subject, good=False, text=fault)
    for sentence in handoff_warnings(manifest):
        yield Finding(subject, good=True, text=f"warning: {sentence}")


def _check_images(root: Path, subject: str, manifest: Manifest) -> Iterator[Finding]:
    """Yield why no machine, or only some, can boot the artifacts of ``manifest``."""
    files = {name: root / entry_path(each.digest) for name, each in manifest.artifacts.items()}
    try:
        for doubt in boot_warnings(files, manifest.arch):
            yield Finding(subject, good=True, text=f"warning: {doubt}")
    except UnbootableError as error:
        yield Finding(subject, good=False, text=str(error))


def _needed_artifacts(manifest: Manifest) -> Iterator[tuple[Artifact, Cid | None]]:
    """Yield the artifacts and modules that a version needs, each with its DAG if it names one."""
    for artifact in manifest.artifacts.values():
        yield artifact, manifest.dags.get(artifact.name)
    for job in manifest.jobs:
        yield Artifact(f"the module of {job.name}", job.module, job.size), job.cid


def _terms_for(terms: Terms, channel: str, arch: Arch) -> Terms:
    return Terms(
        chain=terms.chain,
        now=terms.now,
        min_version=terms.min_version,
        arch=terms.arch or arch,
        channel=terms.channel or channel,
    )


def _check_artifact(root: Path, artifact: Artifact, hashed: Mapping[str, str | None]) -> Finding:
    path = root / entry_path(artifact.digest)
    if artifact.digest.hex not in hashed:
        text = f"{artifact.name} is missing"
    elif hashed[artifact.digest.hex] != artifact.digest.hex:
        text = f"{artifact.name} does not have the signed hash"
    elif path.stat().st_size != artifact.size:
        text = f"{artifact.name} has {path.stat().st_size} bytes instead of {artifact.size}"
    elif artifact.name == "initramfs" and (fault := fault_in_initramfs(path)):
        text = fault
    else:
        text = f"{artifact.name}, {artifact.size} bytes"
        return Finding(entry_path(artifact.digest), good=True, text=text)
    return Finding(entry_path(artifact.digest), good=False, text=text)


def _check_dag(root: Path, artifact: Artifact, dag: Cid) -> Finding:
    fault = index_fault(root, artifact, dag)
    text = f"the chunks of {artifact.name}" if fault is None else f"{artifact.name} {fault}"
    return Finding(dag_path(dag), good=fault is None, text=text)


def _sha256(path: Path) -> str | None:
    """Return the sha256 of a regular file in hex; None for anything else."""
    if path.is_symlink() or not path.is_file():
        return None
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
