"""Publishing a version: store its artifacts, sign its manifest, and write the manifest last.

A client that reads the manifest finds every artifact that it names; a crash before the manifest
leaves the previous version published.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from phase_boot.console.progress import Report, unreported
from phase_boot.content.arch import Arch
from phase_boot.content.artifact import Artifact
from phase_boot.content.cid import Codec
from phase_boot.content.digest import Digest
from phase_boot.content.version import Version
from phase_boot.publish.check.handoff_check import (
    fault_in_cmdline,
    fault_in_initramfs,
    handoff_fault,
    handoff_warnings,
)
from phase_boot.publish.check.image_check import UnbootableError, boot_warnings
from phase_boot.publish.check.root_check import check_backing
from phase_boot.publish.dates import rfc3339
from phase_boot.publish.draft import Draft
from phase_boot.publish.errors import PublishError
from phase_boot.publish.keys.signing import add_signatures
from phase_boot.publish.site import Site, Staged, open_site
from phase_boot.store.layout import entry_path, kept_manifest_path, manifest_path
from phase_boot.trust.job import Job
from phase_boot.trust.keys import SigningKey
from phase_boot.trust.manifest import Manifest, signed_bytes
from phase_boot.trust.refusals import Refusal
from phase_boot.trust.signatures import Trust, claims_of
from phase_boot.trust.strict_json import MAX_BYTES, read_document
from phase_boot.trust.verify import authenticate


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """A version to publish."""

    version: Version
    channel: str
    arch: Arch
    files: Mapping[str, Path]
    """By artifact name; ``kernel``, ``initramfs`` and ``rootfs`` must be among them."""
    issued: datetime
    expires: datetime
    cmdline: str = ""
    mirrors: Sequence[str] = field(default=())
    modules: Sequence[Path] = field(default=())
    """Modules of the jobs; they are stored, but the manifest does not list them as artifacts."""
    jobs: Sequence[Path] = field(default=())
    """Job files, in the order in which the booted OS runs them."""
    skip_image_checks: bool = False
    """Publish files even if no known machine can boot them."""


@dataclass(frozen=True, slots=True)
class Published:
    """A manifest that was written to a SITE."""

    manifest: Manifest
    path: Path
    root_warning: str | None = None
    """Why machines that follow the roots of the SITE will refuse it; None if they accept."""
    warnings: tuple[str, ...] = ()
    """Why some machines cannot boot the version, or boot it differently."""


def publish_release(
    root: Path,
    release: Release,
    keys: Sequence[SigningKey],
    *,
    force: bool = False,
    report: Report = unreported,
) -> Published:
    """Add a version to the SITE at ``root``. The manifest is written last.

    Raises:
        PublishError: the version is not higher than the published one (unless ``force``), a file
            cannot be read or written, or a field is out of its bounds.
    """
    with open_site(root, report=report) as site:
        path = manifest_path(release.channel, release.arch)
        document, warnings = _store_files(site, path, release, force=force)
        raw = sign_manifest(document, keys)
        manifest = _authenticate(raw, keys)
        signers = frozenset(key.keyid for key in keys)
        root_warning = check_backing(root, manifest, signers, force=force)
        warnings = (*warnings, *handoff_warnings(manifest))
        return Published(manifest, _write_manifest(site, manifest, raw), root_warning, warnings)


def write_draft(
    root: Path, release: Release, *, force: bool = False, report: Report = unreported
) -> Published:
    """Store the artifacts of a version, and write its manifest as a draft without signatures.

    The draft lies beside the published manifest, under a name that no provider serves.

    Raises:
        PublishError: as ``publish_release`` does, or the draft in its place has signatures.
    """
    with open_site(root, report=report) as site:
        path = draft_path(release.channel, release.arch)
        if not force:
            _check_is_unsigned(site, path)
        published = manifest_path(release.channel, release.arch)
        document, warnings = _store_files(site, published, release, force=force)
        raw = sign_manifest(document, [])
        manifest = _parse(raw)
        warnings = (*warnings, *handoff_warnings(manifest))
        return Published(manifest, site.write(path, raw), warnings=warnings)


def publish_draft(
    root: Path,
    ready: Draft,
    *,
    force: bool = False,
    skip_image_checks: bool = False,
    report: Report = unreported,
) -> Published:
    """Publish a draft whose signatures are valid, if the SITE has every artifact that it names.

    Raises:
        PublishError: an artifact differs from the signed one, or the version is not higher than
            the published one (unless ``force``).
    """
    manifest = ready.manifest
    _check_handoff(manifest)
    raw = sign_manifest(ready.document, [])
    with open_site(root, report=report) as site:
        path = manifest_path(manifest.channel, manifest.arch)
        if not force:
            _check_is_newer(site, path, manifest.version)
        for artifact in manifest.artifacts.values():
            fault = site.find_fault(artifact, manifest.dags.get(artifact.name))
            if fault is not None:
                raise PublishError(
                    f"{artifact.name} {fault}, so no machine could boot the version: run "
                    "`phase-boot publish --unsigned` with the same files and this SITE first."
                )
        for job in manifest.jobs:
            _check_module_stored(site, job)
        files = {name: site.entry(artifact) for name, artifact in manifest.artifacts.items()}
        warnings = _image_warnings(files, manifest.arch, skip=skip_image_checks)
        signers = frozenset(claim.keyid for claim in claims_of(ready.document))
        root_warning = check_backing(root, manifest, signers, force=force)
        warnings = (*warnings, *handoff_warnings(manifest))
        result = Published(manifest, _write_manifest(site, manifest, raw), root_warning, warnings)
        _discard_draft(site, ready)
        return result


def draft_path(channel: str, arch: Arch) -> str:
    """Return the path of a manifest draft, below the root of a SITE."""
    return f"{manifest_path(channel, arch).removesuffix('.json')}.unsigned.json"


def sign_manifest(document: Mapping[str, object], keys: Sequence[SigningKey]) -> bytes:
    """Return the manifest file of ``document`` with a signature by each key."""
    return add_signatures(document, signed_bytes(document), keys)


def _write_manifest(site: Site, manifest: Manifest, raw: bytes) -> Path:
    """Publish a manifest, and keep a copy to check receipts of its boots against."""
    signed_digest = Digest.of(signed_bytes(read_document(raw)))
    site.write(kept_manifest_path(manifest.channel, manifest.arch, signed_digest), raw)
    return site.write(manifest_path(manifest.channel, manifest.arch), raw)


def _store_files(
    site: Site, path: str, release: Release, *, force: bool
) -> tuple[dict[str, object], tuple[str, ...]]:
    """Store the files of a release that a machine can boot; return its document and warnings."""
    if fault := fault_in_cmdline(release.cmdline):
        raise PublishError(fault)
    if not force:
        _check_is_newer(site, path, release.version)
    # The copies are checked, because an input may be exchanged before it is copied.
    staged = [site.stage(name, file) for name, file in release.files.items()]
    staged_paths = {each.artifact.name: each.path for each in staged}
    if fault := fault_in_initramfs(staged_paths["initramfs"]):
        raise PublishError(fault)
    warnings = _image_warnings(
        staged_paths,
        release.arch,
        original_kernel=release.files["kernel"],
        skip=release.skip_image_checks,
    )
    for each in staged:
        site.commit(each)
    artifacts = [each.artifact for each in staged]
    modules = [site.add("module", file) for file in release.modules]
    for module in modules:
        site.store_dag(module.artifact, module.dag)
    jobs = [_read_job(site, file) for file in release.jobs]
    dags = {each.artifact.name: site.store_dag(each.artifact, each.dag) for each in staged}
    lists = {name: site.chunk_list(dag) for name, dag in dags.items() if dag.codec is Codec.DAG_PB}
    document = {
        **_document(release, artifacts),
        "dags": {name: str(dag) for name, dag in dags.items()},
        **({"chunk_lists": {name: str(cid) for name, cid in lists.items()}} if lists else {}),
        **({"jobs": jobs} if jobs else {}),
    }
    return document, (*_replaced_entries([*staged, *modules]), *warnings)


def _replaced_entries(staged: Sequence[Staged]) -> Iterator[str]:
    for each in staged:
        if each.fault is not None:
            path = entry_path(each.artifact.digest)
            yield f"{path} {each.fault} and was replaced: check the disk that the SITE is on."


def _image_warnings(
    files: Mapping[str, Path], arch: Arch, *, original_kernel: Path | None = None, skip: bool
) -> tuple[str, ...]:
    """Return why only some machines can boot these files.

    Raises:
        PublishError: no machine can boot these files (unless ``skip``).
    """
    try:
        return tuple(boot_warnings(files, arch, original_kernel))
    except UnbootableError as error:
        if skip:
            return (str(error),)
        raise PublishError(str(error)) from None


def _read_job(site: Site, file: Path) -> dict[str, object]:
    """Read the job in ``file``; its module must be in the SITE."""
    try:
        with file.open("rb") as reader:
            table = read_document(reader.read(MAX_BYTES + 1))
        job = Job.of(table)
    except Refusal as refusal:
        raise PublishError(f"{file} is not a valid job: {refusal}") from None
    _check_module_stored(site, job)
    return table


def _check_module_stored(site: Site, job: Job) -> None:
    module = Artifact("module", job.module, job.size)
    fault = site.find_fault(module)
    if fault is not None:
        raise PublishError(
            f"The module of the job {job.name} {fault}, so no machine could run it: name its file "
            "with --module."
        )
    if job.cid is not None and (cid := site.store_dag(module)) != job.cid:
        raise PublishError(
            f"The job {job.name} names the CID {job.cid}, but its module has the CID {cid}: write "
            "the latter, or leave it out."
        )


def _check_is_unsigned(site: Site, path: str) -> None:
    raw = site.read(path, MAX_BYTES + 1)
    try:
        signatures = raw and claims_of(read_document(raw))
    except Refusal:
        return
    if signatures:
        raise PublishError(
            f"{path} has signatures, which would be lost: publish it with --signed, or use "
            "--force to replace it."
        )


def _discard_draft(site: Site, ready: Draft) -> None:
    """Remove the draft if it is the published one."""
    path = draft_path(ready.manifest.channel, ready.manifest.arch)
    raw = site.read(path, MAX_BYTES + 1)
    try:
        same = raw and signed_bytes(read_document(raw)) == signed_bytes(ready.document)
    except Refusal:
        return
    if same:
        site.remove(path)


def _document(release: Release, artifacts: Sequence[Artifact]) -> dict[str, object]:
    return {
        "version": str(release.version),
        "channel": release.channel,
        "arch": str(release.arch),
        "artifacts": {artifact.name: str(artifact.digest) for artifact in artifacts},
        "sizes": {artifact.name: artifact.size for artifact in artifacts},
        "issued": rfc3339(release.issued),
        "expires": rfc3339(release.expires),
        "cmdline": release.cmdline,
        "mirrors": list(release.mirrors),
    }


def _check_is_newer(site: Site, path: str, version: Version) -> None:
    raw = site.read(path, MAX_BYTES + 1)
    if raw is None:
        return
    try:
        published = Manifest.of(read_document(raw)).version
    except Refusal as refusal:
        raise PublishError(
            f"{path} cannot be read ({refusal}): use --force to replace it."
        ) from None
    if version <= published:
        raise PublishError(
            f"Version {version} is not higher than the published {published}, which machines "
            "may have seen: choose a higher version, or use --force."
        )


def _authenticate(raw: bytes, keys: Sequence[SigningKey]) -> Manifest:
    """Parse the manifest as a machine that trusts all of ``keys`` does."""
    keyids = frozenset(key.keyid for key in keys)
    try:
        manifest = authenticate(raw, Trust(keyids, len(keyids))).manifest
    except Refusal as refusal:
        raise PublishError(f"Every machine would refuse this release: {refusal}") from None
    _check_handoff(manifest)
    return manifest


def _check_handoff(manifest: Manifest) -> None:
    if fault := handoff_fault(manifest):
        raise PublishError(fault)


def _parse(raw: bytes) -> Manifest:
    try:
        manifest = Manifest.of(read_document(raw))
    except Refusal as refusal:
        raise PublishError(f"Every machine would refuse this release: {refusal}") from None
    _check_handoff(manifest)
    return manifest
