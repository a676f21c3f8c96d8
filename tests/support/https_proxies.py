"""Reverse proxies that add HTTPS and HTTP/2 to a provider, by docs/announcing.md."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from image.lab.nginx import nginx_command
from tests.results import ROOT
from tests.support.certificates import DAY, new_authority
from tests.support.required_programs import needed
from tests.support.web_servers import wait_for

PAGE: Final = ROOT / "docs/announcing.md"
BLOCK: Final = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
HOST: Final = "boot.example"
PROVIDER: Final = "127.0.0.1:8070"
"""Both as the page has them."""


def of_page(name: str, port: int) -> str:
    """Return a configuration of the page, for a provider at a port of the loopback."""
    blocks: list[tuple[str, str]] = BLOCK.findall(PAGE.read_text())
    (text,) = (text for kind, text in blocks if kind == name)
    assert PROVIDER in text
    return text.replace(PROVIDER, f"127.0.0.1:{port}")


@dataclass(frozen=True)
class Proxy:
    """A command, and the certificate of the authority that its clients must trust."""

    words: list[str]
    authority: Path


def caddy(folder: Path, public: int, port: int) -> Proxy:
    head, _, rest = of_page("caddy", port).partition("\n")
    assert head == f"{HOST} {{"
    options = f"""\
{{
    admin off
    auto_https disable_redirects
    skip_install_trust
    storage file_system {folder}
}}
https://localhost:{public} {{
    bind 127.0.0.1
    tls internal
"""
    (folder / "Caddyfile").write_text(options + rest)
    words = [needed("caddy", "caddy"), "run", "--config", str(folder / "Caddyfile")]
    return Proxy(words, folder / "pki/authorities/local/root.crt")


def nginx(folder: Path, public: int, port: int) -> Proxy:
    now, authority = datetime.now(UTC), new_authority(folder / "authority")
    authority.server(now - DAY, now + DAY)
    text = of_page("nginx", port)
    for ours, theirs in (
        ("listen 443 ssl", f"listen 127.0.0.1:{public} ssl"),
        (f"server_name {HOST}", "server_name localhost"),
        (f"/etc/ssl/{HOST}.pem", str(authority.folder / "leaf.pem")),
        (f"/etc/ssl/private/{HOST}.key", str(authority.folder / "leaf.key")),
    ):
        assert ours in text
        text = text.replace(ours, theirs)
    needed("nginx", "nginx-light")
    return Proxy(nginx_command(folder, f"access_log off;\n{text}"), authority.certificate)


PROXIES: Final = {"caddy": caddy, "nginx": nginx}


@contextmanager
def behind_https(name: str, folder: Path, public: int, port: int) -> Iterator[Path]:
    """Serve what is at ``port`` of the loopback at ``https://localhost:<public>`` too.

    Yields the certificate of its authority.
    """
    proxy = PROXIES[name](folder, public, port)
    output = folder / "output"
    with output.open("wb") as log:
        process = subprocess.Popen(
            proxy.words, env={"HOME": str(folder)}, stdout=log, stderr=log, cwd=folder
        )
    try:
        wait_for(public, process, output)
        yield proxy.authority
    finally:
        process.terminate()
        process.wait(timeout=10)
