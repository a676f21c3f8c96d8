"""`phase-boot fetch`: its options, and the start of its network worker."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from phase_boot.cli_support import CommandError, add_trust, port_number

if TYPE_CHECKING:
    import argparse


class FetchUnusable(CommandError):
    """The network worker cannot start with these options."""

    status = 2


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `phase-boot fetch`."""
    parser.set_defaults(func=f"{__name__}:fetch")
    parser.add_argument(
        "url",
        metavar="URL",
        help="URL of a manifest or of a mirror's folder, or ipns://NAME: an announcing key's name, "
        "or that of a folder at gateways",
    )
    parser.add_argument(
        "--store", type=Path, required=True, metavar="DIR", help="folder of the store"
    )
    parser.add_argument(
        "--source",
        action="append",
        default=[],
        metavar="URL",
        help="additional mirror (repeatable)",
    )
    _add_servers(parser)
    add_trust(
        parser,
        key="KEYID",
        root="root that names the publishers",
        policy="policy that names keys or a root, and limits",
        required=True,
    )
    parser.add_argument(
        "--channel",
        default="stable",
        help="channel, where the URL does not name one (default: %(default)s)",
    )
    parser.add_argument(
        "--journal", type=Path, metavar="FILE", help="write the journal's events to this file"
    )
    parser.add_argument(
        "--serve",
        type=port_number,
        metavar="PORT",
        help="serve to peers at this TCP port during the download and afterwards, until Ctrl-C "
        "(0: a free port)",
    )


def _add_servers(parser: argparse.ArgumentParser) -> None:
    servers = (
        ("--router", "URL", "additional delegated router (repeatable)"),
        ("--gateway", "URL", "additional trustless IPFS gateway (repeatable)"),
        (
            "--bootstrap",
            "MULTIADDR",
            "additional peer of a Kademlia DHT, with its id (repeatable)",
        ),
    )
    for option, metavar, text in servers:
        parser.add_argument(option, action="append", default=[], metavar=metavar, help=text)


def fetch(options: argparse.Namespace) -> int:
    """Download a release and return the exit status.

    Raises:
        FetchUnusable: the port of --serve cannot be used.
    """
    from phase_boot.privsep.worker import start_worker  # noqa: PLC0415 - not for the help
    from phase_boot.provider.errors import ProvideError  # noqa: PLC0415 - the same

    # The worker starts before this process has anything that it must not inherit, and both
    # processes do their slow imports at the same time.
    try:
        worker = start_worker(user=None, discovers=False, port=options.serve or 0)
    except ProvideError as error:
        raise FetchUnusable(str(error)) from None
    try:
        from phase_boot.app.prefetch import prefetch  # noqa: PLC0415 - see above
        from phase_boot.app.prefetch_plan import PrefetchRequest  # noqa: PLC0415 - the same

        return prefetch(
            PrefetchRequest(
                url=options.url,
                store=options.store,
                sources=tuple(options.source),
                routers=tuple(options.router),
                gateways=tuple(options.gateway),
                bootstrap=tuple(options.bootstrap),
                policy=options.policy,
                keys=tuple(options.key or ()),
                threshold=options.threshold,
                root=options.root,
                channel=options.channel,
                journal=options.journal,
                serve=options.serve,
            ),
            worker,
        )
    finally:
        worker.stop()
