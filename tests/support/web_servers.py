"""Real web servers, each configured as a mirror in several ways."""

from __future__ import annotations

import gzip
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from image.lab.nginx import RECORD_LOCATION, nginx_configuration
from tests.support.required_programs import needed


@dataclass(frozen=True)
class Real:
    """A server program: its configuration for a folder and port, and its command."""

    package: str
    program: str
    configuration: Callable[[Path, int, int], str]
    words: Callable[[Path], list[str]]
    manners: tuple[str, ...]


CADDY_RECORDS = """\
@records path /routing/v1/ipns/* /ipns/*
header @records Content-Type application/vnd.ipfs.ipns-record
header @records Cache-Control "public, max-age=300"
"""
LIGHTTPD_RECORDS = """\
$HTTP["url"] =~ "^/(routing/v1/)?ipns/" {
    mimetype.assign = ( "" => "application/vnd.ipfs.ipns-record" )
    setenv.add-response-header = ( "Cache-Control" => "public, max-age=300" )
}
"""
"""How these servers send IPNS records, as docs/mirrors.md says."""


def indented(lines: str) -> str:
    """Return lines to be put into a text that is dedented by 8 or 12 columns."""
    return lines.rstrip().replace("\n", f"\n{' ' * 12}")


def nginx(site: Path, port: int, other: int) -> str:
    http = f"""\
        access_log off;
        server {{
            listen 127.0.0.1:{port};
            listen 127.0.0.1:{other};
            root {site};
            {" ".join(RECORD_LOCATION.split())}
            location /whole/ {{ alias {site}/; max_ranges 0; }}
            location /packed/ {{ alias {site}/; gzip_static always; max_ranges 0; }}
            location /moved/ {{ rewrite ^/moved/(.*)$ /$1 redirect; }}
            location /away/ {{
                rewrite ^/away/(.*)$ http://127.0.0.1:{other}/$1 redirect;
            }}
            location /signed/ {{
                if ($arg_sig != "a%2Fb") {{ return 403; }}
                alias {site}/;
            }}
        }}
        """
    return nginx_configuration(site.parent, http)


def caddy(site: Path, port: int, other: int) -> str:
    return textwrap.dedent(f"""\
        {{
            admin off
            auto_https off
        }}
        http://127.0.0.1:{port}, http://127.0.0.1:{other} {{
            bind 127.0.0.1
            root * {site}
            {indented(CADDY_RECORDS)}
            @moved path_regexp moved ^/moved/(.*)$
            redir @moved /{{re.moved.1}} 302
            @away path_regexp away ^/away/(.*)$
            redir @away http://127.0.0.1:{other}/{{re.away.1}} 307
            handle_path /packed/* {{
                encode gzip
                file_server
            }}
            handle_path /signed/* {{
                @signed query sig=a/b
                handle @signed {{
                    file_server
                }}
                respond 403
            }}
            handle {{
                file_server
            }}
        }}
        """)


def lighttpd(site: Path, port: int, other: int) -> str:
    return textwrap.dedent(f"""\
        server.document-root = "{site}"
        server.bind = "127.0.0.1"
        server.port = {port}
        server.modules = ( "mod_redirect", "mod_alias", "mod_access", "mod_setenv" )
        $SERVER["socket"] == "127.0.0.1:{other}" {{ }}
        alias.url = ( "/whole/" => "{site}/", "/signed/" => "{site}/" )
        url.redirect = (
            "^/moved/(.*)$" => "/$1",
            "^/away/(.*)$" => "http://127.0.0.1:{other}/$1"
        )
        {indented(LIGHTTPD_RECORDS)}
        $HTTP["url"] =~ "^/whole/" {{ server.range-requests = "disable" }}
        $HTTP["url"] =~ "^/signed/" {{
            $HTTP["querystring"] != "sig=a%2Fb" {{ url.access-deny = ( "" ) }}
        }}
        """)


SERVERS = {
    "nginx": Real(
        "nginx-light",
        "nginx",
        nginx,
        lambda file: ["-c", str(file), "-p", str(file.parent), "-e", str(file.parent / "e.log")],
        ("", "a%20b", "/os//", "whole", "packed", "moved", "away", "signed?sig=a%2Fb"),
    ),
    "caddy": Real(
        "caddy",
        "caddy",
        caddy,
        lambda file: ["run", "--config", str(file), "--adapter", "caddyfile"],
        ("", "a%20b", "packed", "moved", "away", "signed?sig=a%2Fb"),
    ),
    "lighttpd": Real(
        "lighttpd",
        "lighttpd",
        lighttpd,
        lambda file: ["-D", "-f", str(file)],
        ("", "a%20b", "/os//", "whole", "moved", "away", "signed?sig=a%2Fb"),
    ),
    "http.server": Real("", "", lambda *_: "", lambda _: [], ("", "a%20b", "/os//")),
}


def free_ports() -> tuple[int, int]:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("", 0)) as two:
        return one.getsockname()[1], two.getsockname()[1]


def lay_out(site: Path, files: Mapping[str, bytes]) -> None:
    for place, data in files.items():
        for root in (site, site / "a b", site / "os"):
            (root / place).parent.mkdir(parents=True, exist_ok=True)
            (root / place).write_bytes(data)
        (site / f"{place}.gz").write_bytes(gzip.compress(data, 1))


@contextmanager
def serving(name: str, folder: Path, files: Mapping[str, bytes]) -> Iterator[str]:
    """Serve ``files`` until the end of the block."""
    site = folder / "site"
    lay_out(site, files)
    # A server that gives up its rights reads the site all the same.
    for place in (folder, *folder.parents):
        if place.is_relative_to("/tmp") and place != Path("/tmp"):  # noqa: S108 - where tests are
            place.chmod(place.stat().st_mode | 0o055)
    port, other = free_ports()
    real = SERVERS[name]
    if real.program:
        file = folder / "configuration"
        file.write_text(real.configuration(site, port, other))
        argv = [needed(real.program, real.package), *real.words(file)]
    else:
        argv = [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1"]
    with (folder / "output").open("wb") as output:
        running = subprocess.Popen(
            argv,
            cwd=site,
            stdout=output,
            stderr=output,
            env={"HOME": str(folder), "PATH": "/usr/sbin:/usr/bin:/bin"},
        )
    try:
        wait_for(port, running, folder / "output")
        yield f"http://127.0.0.1:{port}"
    finally:
        running.terminate()
        running.wait(timeout=10)


def wait_for(port: int, running: subprocess.Popen[bytes], output: Path) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        assert running.poll() is None, output.read_text(errors="replace")
        with socket.socket() as trying:
            if trying.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    pytest.fail(f"no server: {output.read_text(errors='replace')}")
