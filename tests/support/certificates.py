"""A certificate authority of the tests, made by openssl, with chosen validity periods."""

from __future__ import annotations

import ssl
import subprocess
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from tests.support.required_programs import needed

_KEY: Final = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
_AUTHORITY: Final = """
[ca]
default_ca = one
[one]
database = index
new_certs_dir = .
rand_serial = yes
default_md = sha256
policy = any
x509_extensions = leaf
copy_extensions = none
[any]
commonName = supplied
[leaf]
basicConstraints = critical,CA:FALSE
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
subjectAltName = DNS:{name}
"""


@dataclass(frozen=True)
class Authority:
    """A certificate authority in a folder."""

    folder: Path

    @property
    def certificate(self) -> Path:
        return self.folder / "authority.pem"

    def server(self, first: datetime, last: datetime, *, name: str = "localhost") -> ssl.SSLContext:
        """Return the certificate of the server ``name``, valid from ``first`` to ``last``."""
        (self.folder / "index").write_text("")
        (self.folder / "leaf.cnf").write_text(_AUTHORITY.format(name=name))
        openssl(
            self.folder,
            *("req", *_KEY, "-keyout", "leaf.key", "-subj", f"/CN={name}", "-out", "leaf.csr"),
        )
        dates = ("-startdate", _spelled(first), "-enddate", _spelled(last))
        by = ("-cert", "authority.pem", "-keyfile", "authority.key")
        openssl(
            self.folder,
            *("ca", "-batch", "-notext", "-config", "leaf.cnf", *by, *dates),
            *("-in", "leaf.csr", "-out", "leaf.pem"),
        )
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.folder / "leaf.pem", self.folder / "leaf.key")
        return context


def new_authority(folder: Path) -> Authority:
    """Make an authority in ``folder``."""
    folder.mkdir()
    openssl(
        folder,
        *("req", "-x509", *_KEY, "-keyout", "authority.key", "-out", "authority.pem"),
        *("-days", "3650", "-subj", "/CN=Authority of the tests"),
        *("-addext", "keyUsage=critical,keyCertSign,cRLSign"),
    )
    return Authority(folder)


def openssl(folder: Path, *words: str) -> None:
    subprocess.run(
        [needed("openssl", "openssl"), *words], cwd=folder, check=True, capture_output=True
    )


def _spelled(moment: datetime) -> str:
    return moment.strftime("%Y%m%d%H%M%SZ")


DAY: Final = timedelta(days=1)
