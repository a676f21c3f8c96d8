"""The `serve` command."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Final

DEFAULT_PORT: Final = 8070


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the provider's command."""
    parser = subparsers.add_parser("serve", help="serve a SITE to the machines on this network")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("site", type=Path, nargs="?", metavar="SITE")
    source.add_argument(
        "--store",
        type=Path,
        metavar="DIR",
        help="serve the store of this machine instead of a SITE",
    )
    parser.add_argument(
        "--port",
        type=port,
        default=DEFAULT_PORT,
        help="TCP port (default: %(default)s; 0: a free one)",
    )
    parser.add_argument("--host", help="listen on this address only")
    parser.add_argument("--interface", help="listen and announce on this interface only")
    parser.add_argument("--no-announce", action="store_true", help="do not announce by mDNS")
    parser.add_argument(
        "--no-receipts", action="store_true", help="accept no receipts from booted machines"
    )
    parser.add_argument("--json", action="store_true", help="write JSON lines on a terminal too")
    parser.set_defaults(func=_serve)


def port(text: str) -> int:
    """Return the port that an option names."""
    number = int(text)
    if not 0 <= number <= 65535:  # noqa: PLR2004 - what a port is
        raise argparse.ArgumentTypeError("a port is a number from 0 to 65535")
    return number


def _serve(options: argparse.Namespace) -> int:
    import asyncio  # noqa: PLC0415 - nothing of it on the boot path

    from phase_boot.provider.errors import ProvideError  # noqa: PLC0415 - the same
    from phase_boot.provider.events import to_person, to_stdout  # noqa: PLC0415 - the same
    from phase_boot.provider.serve import Settings, serve  # noqa: PLC0415 - the same

    settings = Settings(
        folder=options.site or options.store,
        from_store=options.store is not None,
        port=options.port,
        host=options.host,
        interface=options.interface,
        announce=not options.no_announce,
        receipts=not options.no_receipts,
    )
    try:
        plain = options.json or not sys.stdout.isatty()
        asyncio.run(serve(settings, to_stdout if plain else to_person))
    except ProvideError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0
