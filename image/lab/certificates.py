"""A certificate authority for tests, and HTTPS server certificates signed by it, by openssl."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from image.lab.namespace import LabError

DAYS: Final = 3650
_NEW_KEY: Final = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")


@dataclass(frozen=True, slots=True)
class Certificate:
    """An HTTPS server's certificate and private key, and its authority's certificate, as PEM."""

    chain: Path
    key: Path
    authority: Path


def authority(folder: Path) -> Path:
    """Return the certificate of the authority in `folder`; the first call creates it and its key.

    Raises:
        LabError: openssl fails.
    """
    certificate = folder / "authority.pem"
    if not certificate.exists():
        folder.mkdir(parents=True, exist_ok=True)
        draft = folder / "authority.new"
        key = ("-keyout", str(folder / "authority.key"))
        subject = ("-days", str(DAYS), "-subj", "/CN=Phase Boot's tests", "-out", str(draft))
        usage = _extension("keyUsage=critical,keyCertSign,cRLSign")
        _openssl("req", "-x509", *_NEW_KEY, *key, *subject, *usage)
        draft.replace(certificate)
    return certificate


def certificate(folder: Path, name: str) -> Certificate:
    """Return the certificate of the server `name`; the first call has the authority sign it.

    Raises:
        LabError: openssl fails.
    """
    issuer = authority(folder)
    chain, key = folder / f"{name}.pem", folder / f"{name}.key"
    if not chain.exists():
        draft = folder / f"{name}.new"
        out = ("-keyout", str(key), "-out", str(draft), "-days", str(DAYS))
        _openssl(
            *("req", "-x509", *_NEW_KEY, *out),
            *("-CA", str(issuer), "-CAkey", str(issuer.with_suffix(".key"))),
            *("-subj", f"/CN={name}", *_extension(f"subjectAltName=DNS:{name}")),
            *_extension("basicConstraints=critical,CA:FALSE"),
        )
        draft.replace(chain)
    return Certificate(chain, key, issuer)


def _extension(text: str) -> tuple[str, str]:
    return ("-addext", text)


def _openssl(*arguments: str) -> None:
    program = ["/usr/bin/env", "openssl"]
    done = subprocess.run([*program, *arguments], check=False, capture_output=True, text=True)
    if done.returncode:
        raise LabError(f"openssl created no certificate: {done.stderr.strip()}")
