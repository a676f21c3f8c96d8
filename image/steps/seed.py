"""What is the seed's own in its root: Python, policies, launchers, certificates."""

from __future__ import annotations

import re
import ssl
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from image import recipe as names
from image.build_cache import discard
from image.steps import packages as debian
from image.steps import python, rootfs, tree
from image.tools import epoch
from loader.entries import MENU
from policies.model import Mode
from policies.write import RootFile, SourceUrls, render_policy

LAUNCHERS: Final = {"phase-boot": "main", "fetch-verify-kexec": "fetch_verify_kexec"}
BUNDLE: Final = "etc/ssl/certs/ca-certificates.crt"
CERTIFICATE: Final = re.compile(
    "-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\\s]+-----END CERTIFICATE-----"
)
LINKS: Final = {
    "cas": "cache/cas",
    "etc/policy.toml": "phase-boot/internet.toml",
    "usr/lib/systemd/system/phase-shell.service.d": "phase-boot.service.d",
    "etc/systemd/system/default.target": "/usr/lib/systemd/system/phase-boot.target",
    "usr/bin/python3": "python3.13",
}


def build_root(
    packages: Path,
    interpreter: Path,
    parts: Sequence[tuple[Path, str]],
    recipe: names.Recipe,
    out: Path,
) -> None:
    """Create the seed's root at ``out``.

    Args:
        packages: Debian's files.
        interpreter: a root with the same Python for this machine.
        parts: other trees, each with the place it goes to, relative to the root.
        recipe: what to build.
        out: the folder to create.
    """
    rootfs.assemble(packages, recipe.own_files, parts, recipe.platform, out)
    library = out / "usr/lib/python3.13"
    python.compile_bytecode(interpreter, library, "/usr/lib/python3.13")
    _write_generated(out, recipe)
    rootfs.finish(out, ["cache"], LINKS, epoch())


def policy_files(site: names.TrustConfig) -> dict[str, str]:
    """Return the policies of a seed by their names, and the root that they start from, if any.

    Raises:
        PolicyError: A seed with these would boot nothing.
    """
    files = {
        f"{mode}.toml": render_policy(
            Mode(mode),
            trust=site.publishers,
            channel=site.channel,
            sources=SourceUrls(urls=site.urls, gateways=site.gateways),
            shell=site.shell,
        )
        for mode in MENU
    }
    if isinstance(site.publishers, RootFile):
        files[site.publishers.name] = site.publishers.content.decode()
    return files


def bundle_certificates(suite: str, arch: str, out: Path) -> None:
    """Write the certificates of Debian's list into one file, where OpenSSL looks for it."""
    unpacked = out.with_name(out.name + ".packages")
    debian.extract(suite, arch, names.CERTIFICATES, unpacked)
    found = sorted((unpacked / "usr/share/ca-certificates").rglob("*.crt"))
    bundle = "".join(path.read_text(encoding="utf-8").rstrip() + "\n" for path in found)
    tree.write(out / BUNDLE, bundle)
    (out / "usr/lib/ssl").mkdir(parents=True)
    (out / "usr/lib/ssl/cert.pem").symlink_to("../../../etc/ssl/certs/ca-certificates.crt")
    discard(unpacked)


def read_authorities(files: Sequence[Path]) -> str:
    """Return the certificates in ``files``, one after the other, and nothing else of them.

    Raises:
        ValueError: One cannot be read, or holds no certificate of an authority.
    """
    found = []
    for path in files:
        try:
            text = path.read_text(encoding="ascii")
            certificates = CERTIFICATE.findall(text)
            trusted = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            trusted.load_verify_locations(cadata="\n".join(certificates))
        except (OSError, ValueError) as error:
            raise ValueError(f"{path} holds no certificates in PEM: {error}") from error
        if trusted.cert_store_stats()["x509_ca"] < len(certificates):
            raise ValueError(f"{path} holds a certificate that is not an authority's")
        found += certificates
    return "".join(certificate + "\n" for certificate in found)


def _write_generated(out: Path, recipe: names.Recipe) -> None:
    for name, function in LAUNCHERS.items():
        tree.write(out / f"usr/bin/{name}", python.launcher(function), executable=True)
    for name, content in policy_files(recipe.trust).items():
        tree.write(out / "etc/phase-boot" / name, content)
    if recipe.trust.authorities:
        bundle = (out / BUNDLE).read_text(encoding="utf-8")
        tree.write(out / BUNDLE, bundle + recipe.trust.authorities)
    tree.write(
        out / "etc/os-release",
        rootfs.os_release("Phase Boot Seed", names.version(), recipe.platform),
    )
    tree.write(out / "usr/lib/clock-epoch", "")
    built = datetime.fromtimestamp(epoch(), UTC).isoformat()
    tree.write(out / "etc/phase-boot/built", built + "\n")
