"""Certificates of authorities for HTTPS: Debian's as one file, and those that a builder adds."""

from __future__ import annotations

import re
import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from image.file_tree import discard, write
from image.steps import packages

BUNDLE: Final = "etc/ssl/certs/ca-certificates.crt"
CERTIFICATE: Final = re.compile(
    "-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\\s]+-----END CERTIFICATE-----"
)


def bundle_certificates(suite: str, arch: str, names: Sequence[str], out: Path) -> None:
    """Write the certificates of the packages ``names`` into one file, where OpenSSL reads it."""
    unpacked = out.with_name(out.name + ".packages")
    packages.extract(suite, arch, names, unpacked)
    found = sorted((unpacked / "usr/share/ca-certificates").rglob("*.crt"))
    bundle = "".join(path.read_text(encoding="utf-8").rstrip() + "\n" for path in found)
    write(out / BUNDLE, bundle)
    (out / "usr/lib/ssl").mkdir(parents=True)
    (out / "usr/lib/ssl/cert.pem").symlink_to("../../../etc/ssl/certs/ca-certificates.crt")
    discard(unpacked)


def read_authorities(files: Sequence[Path]) -> str:
    """Return the certificates in ``files``, one after the other, without any other text.

    Raises:
        ValueError: A file cannot be read, or has no certificate of an authority.
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
