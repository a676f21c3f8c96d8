"""Publishing one version: store the artifacts, sign what they are, and only then say so."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from phase_boot.publish.errors import PublishError
from phase_boot.publish.site import Site, open_site
from phase_boot.store.layout import manifest_path
from phase_boot.trust.arch import Arch
from phase_boot.trust.document import MAX_BYTES, read_document
from phase_boot.trust.keys import SigningKey
from phase_boot.trust.manifest import Artifact, Manifest, signed_bytes
from phase_boot.trust.refusals import Refusal
from phase_boot.trust.signatures import Trust
from phase_boot.trust.verify import authenticate
from phase_boot.trust.version import Version


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """What is to be published."""

    version: Version
    channel: str
    arch: Arch
    files: Mapping[str, Path]
    """By artifact name; ``kernel``, ``initramfs`` and ``rootfs`` must be among them."""
    issued: datetime
    expires: datetime
    cmdline: str = ""
    mirrors: Sequence[str] = field(default=())


@dataclass(frozen=True, slots=True)
class Published:
    """What stands in the SITE now."""

    manifest: Manifest
    path: Path


def publish(
    root: Path, release: Release, keys: Sequence[SigningKey], *, force: bool = False
) -> Published:
    """Add a version to the SITE at ``root``. The manifest comes last, so all it names is there.

    Raises:
        PublishError: the version is not higher than the published one (unless ``force``), a file
            cannot be read or written, or a field is out of its bounds.
    """
    with open_site(root) as site:
        path = manifest_path(release.channel, release.arch)
        if not force:
            _check_is_newer(site, path, release)
        artifacts = [site.add(name, file) for name, file in release.files.items()]
        raw = sign(_document(release, artifacts), keys)
        return Published(_checked(raw, keys), site.write(path, raw))


def sign(document: Mapping[str, object], keys: Sequence[SigningKey]) -> bytes:
    """Return the manifest file of ``document`` with a signature by each key."""
    message = signed_bytes(document)
    signatures = [
        {"keyid": key.keyid, "sig": base64.b64encode(key.sign(message)).decode("ascii")}
        for key in keys
    ]
    whole = {**document, "signatures": signatures}
    return (json.dumps(whole, indent=2, ensure_ascii=False) + "\n").encode("utf-8")


def _document(release: Release, artifacts: Sequence[Artifact]) -> dict[str, object]:
    return {
        "version": str(release.version),
        "channel": release.channel,
        "arch": str(release.arch),
        "artifacts": {artifact.name: str(artifact.digest) for artifact in artifacts},
        "sizes": {artifact.name: artifact.size for artifact in artifacts},
        "issued": _rfc3339(release.issued),
        "expires": _rfc3339(release.expires),
        "cmdline": release.cmdline,
        "mirrors": list(release.mirrors),
    }


def _rfc3339(date: datetime) -> str:
    return date.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _check_is_newer(site: Site, path: str, release: Release) -> None:
    raw = site.read(path, MAX_BYTES + 1)
    if raw is None:
        return
    try:
        published = Manifest.of(read_document(raw)).version
    except Refusal as refusal:
        raise PublishError(
            f"{path} cannot be read ({refusal}): use --force to replace it."
        ) from None
    if release.version <= published:
        raise PublishError(
            f"Version {release.version} is not higher than the published {published}, and machines "
            "may have seen that one: choose a higher version, or use --force."
        )


def _checked(raw: bytes, keys: Sequence[SigningKey]) -> Manifest:
    """Read the manifest as a machine that trusts all of ``keys`` would."""
    keyids = frozenset(key.keyid for key in keys)
    try:
        return authenticate(raw, Trust(keyids, len(keyids))).manifest
    except Refusal as refusal:
        raise PublishError(f"No machine would take this release: {refusal}") from None
