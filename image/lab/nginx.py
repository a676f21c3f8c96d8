"""nginx as one process in the foreground that writes only below one folder."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Final

PROGRAM: Final = "/usr/sbin/nginx"
"""Its path in Debian; the PATH of an ordinary user leaves this folder out."""
LOG: Final = "nginx.log"
"""Name of the error log in the folder."""
RECORD_LOCATION: Final = """\
location ~ ^/(routing/v1/)?ipns/ {
    default_type application/vnd.ipfs.ipns-record;
    add_header Cache-Control "public, max-age=300";
}
"""
"""Directives with which a server of a SITE sends its IPNS records (docs/mirrors.md)."""
_TEMPORARY: Final = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


def nginx_configuration(folder: Path, http: str) -> str:
    """Return a configuration with the directives `http`, whose files are all in `folder`."""
    # `user root root`: root is the only user of a user namespace.
    return (
        textwrap.dedent(f"""\
            daemon off;
            master_process off;
            user root root;
            pid {folder}/nginx.pid;
            error_log {folder}/{LOG};
            events {{ worker_connections 512; }}
            http {{
            """)
        + "".join(f"    {name}_temp_path {folder}/{name};\n" for name in _TEMPORARY)
        + textwrap.indent(textwrap.dedent(http), "    ")
        + "}\n"
    )


def nginx_command(folder: Path, http: str) -> list[str]:
    """Write the configuration with the directives `http` to `folder`; return the command."""
    file = folder / "nginx.conf"
    file.write_text(nginx_configuration(folder, http))
    return [PROGRAM, "-p", str(folder), "-c", str(file), "-e", str(folder / LOG)]
