"""A certificate authority of a test's own, and what it makes for an HTTPS server, by openssl."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Final

from image.lab.network import LabError
from image.lab.wan import Certificate

DAYS: Final = 3650
_KEY: Final = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")


def authority(folder: Path) -> Path:
    """The certificate of an authority in `folder`, made once; its key lies beside it."""
    certificate = folder / "authority.pem"
    if not certificate.exists():
        folder.mkdir(parents=True, exist_ok=True)
        draft = folder / "authority.new"
        key = ("-keyout", str(folder / "authority.key"))
        what = ("-days", str(DAYS), "-subj", "/CN=Phase Boot's tests", "-out", str(draft))
        _openssl(
            "req", "-x509", *_KEY, *key, *what, *_extension("keyUsage=critical,keyCertSign,cRLSign")
        )
        draft.replace(certificate)
    return certificate


def certificate(folder: Path, name: str) -> Certificate:
    """What an HTTPS server called `name` shows, made once by the authority in `folder`."""
    by = authority(folder)
    chain, key = folder / f"{name}.pem", folder / f"{name}.key"
    if not chain.exists():
        draft = folder / f"{name}.new"
        _openssl(
            *("req", "-x509", *_KEY, "-keyout", str(key), "-out", str(draft), "-days", str(DAYS)),
            *("-CA", str(by), "-CAkey", str(by.with_suffix(".key")), "-subj", f"/CN={name}"),
            *_extension(f"subjectAltName=DNS:{name}"),
            *_extension("basicConstraints=critical,CA:FALSE"),
        )
        draft.replace(chain)
    return Certificate(chain, key, by)


def _extension(text: str) -> tuple[str, str]:
    return ("-addext", text)


def _openssl(*words: str) -> None:
    program = ["/usr/bin/env", "openssl"]
    done = subprocess.run([*program, *words], check=False, capture_output=True, text=True)
    if done.returncode:
        raise LabError(f"openssl made no certificate: {done.stderr.strip()}")
