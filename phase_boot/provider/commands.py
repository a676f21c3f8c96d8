"""`phase-boot serve`: its options."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from phase_boot.cli_support import port_number

if TYPE_CHECKING:
    import argparse

    from phase_boot.url import Url

DEFAULT_PORT: Final = 8070


def add_serve(parser: argparse.ArgumentParser) -> None:
    """Add the options of `phase-boot serve`."""
    parser.set_defaults(func="phase_boot.app.serving:serve")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("site", type=Path, nargs="?", metavar="SITE", help="folder of the SITE")
    source.add_argument(
        "--store", type=Path, metavar="DIR", help="serve a store of this machine instead of a SITE"
    )
    parser.add_argument(
        "--port",
        type=port_number,
        default=DEFAULT_PORT,
        help="TCP port (default: %(default)s; 0: a free port)",
    )
    parser.add_argument(
        "--host", metavar="ADDRESS", help="listen on this address only (default: all)"
    )
    parser.add_argument(
        "--interface", help="listen and announce on this network interface only (default: all)"
    )
    parser.add_argument("--no-announce", action="store_true", help="do not announce by mDNS")
    parser.add_argument(
        "--no-receipts", action="store_true", help="accept no receipts from booted machines"
    )
    parser.add_argument(
        "--public-url",
        type=_public_url,
        metavar="URL",
        help="name this https URL, a reverse proxy, to IPFS nodes that ask for a CID served here",
    )
    parser.add_argument(
        "--router",
        action="append",
        default=[],
        metavar="URL",
        help="ask this delegated router for newer IPNS records than those served here, once for "
        "all machines; can be repeated",
    )
    parser.add_argument(
        "--trusted-proxy",
        action="append",
        default=[],
        metavar="CIDR",
        help="take the address of a client from the X-Forwarded-For of a reverse proxy in this "
        "network; can be repeated",
    )
    parser.add_argument(
        "--json", action="store_true", help="print one JSON object per line on a terminal too"
    )


def _public_url(text: str) -> Url:
    import argparse  # noqa: PLC0415 - loaded already where an option is read

    from phase_boot.provider.gateway.http_provider import (  # noqa: PLC0415 - not for the help
        parse_public_url,
    )
    from phase_boot.url import BadUrl  # noqa: PLC0415 - the same

    try:
        return parse_public_url(text)
    except BadUrl as error:
        raise argparse.ArgumentTypeError(f"{text!r:.300} is not usable: {error}") from None
