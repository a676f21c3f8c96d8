"""Commands that print generated text: `policy`, `refusals`, `graph`, `completion`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

from phase_boot.cli_support import CommandError, add_json, add_trust

if TYPE_CHECKING:
    import argparse

GRAPH_FORMATS: Final = ("mermaid", "dot", "promela")
SHELLS: Final = ("bash", "zsh", "tcsh")


def add_policy(parser: argparse.ArgumentParser) -> None:
    """Add the options of `phase-boot policy`."""
    parser.set_defaults(func=f"{__name__}:policy")
    parser.add_argument(
        "--mode", default="internet", help="internet, local or private (default: %(default)s)"
    )
    add_trust(parser, key="KEYID", root="root that names the publishers", required=True)
    parser.add_argument("--channel", default="stable", help="channel (default: %(default)s)")
    parser.add_argument(
        "--url", action="append", default=[], metavar="URL", help="manifest URL (repeatable)"
    )
    parser.add_argument(
        "--router",
        action="append",
        default=[],
        metavar="URL",
        help="delegated router, asked for the publisher's IPNS record (repeatable)",
    )
    parser.add_argument(
        "--gateway",
        action="append",
        default=[],
        metavar="URL",
        help="trustless IPFS gateway (repeatable)",
    )
    parser.add_argument(
        "--no-public",
        action="store_true",
        help="leave out the public routers, gateways and DHT peers that Internet mode asks if the "
        "root names an announcing key",
    )
    parser.add_argument(
        "--bootstrap",
        action="append",
        default=[],
        metavar="MULTIADDR",
        help="peer of a Kademlia DHT, with its id, where a look-up begins (repeatable)",
    )


def policy(options: argparse.Namespace) -> int:
    """Print a policy.

    Raises:
        CommandError: the daemon would refuse the policy.
    """
    from policies.model import Mode, PolicyError  # noqa: PLC0415 - not for the help
    from policies.write import (  # noqa: PLC0415 - the same
        SourceUrls,
        render_policy,
        trust_from_options,
    )

    try:
        text = render_policy(
            Mode(options.mode),
            trust=trust_from_options(options.key, options.threshold, options.root),
            channel=options.channel,
            sources=SourceUrls(
                urls=tuple(options.url),
                routers=tuple(options.router),
                gateways=tuple(options.gateway),
                public=not options.no_public,
                bootstrap=tuple(options.bootstrap),
            ),
        )
    except (PolicyError, ValueError) as error:
        raise CommandError(f"The policy would be invalid: {error}.") from None
    sys.stdout.write(text)
    return 0


def add_refusals(parser: argparse.ArgumentParser) -> None:
    """Add the options of `phase-boot refusals`."""
    parser.set_defaults(func=f"{__name__}:refusals")
    add_json(parser)


def refusals(options: argparse.Namespace) -> int:
    """Print the table of refusals."""
    from phase_boot.trust.refusals_page import page, table  # noqa: PLC0415 - not for the help

    sys.stdout.write(table() if options.json else page())
    return 0


def add_graph(parser: argparse.ArgumentParser) -> None:
    """Add the options of `phase-boot graph`."""
    parser.set_defaults(func=f"{__name__}:graph")
    parser.add_argument(
        "--format",
        choices=GRAPH_FORMATS,
        default=GRAPH_FORMATS[0],
        help="output format (default: %(default)s)",
    )


def graph(options: argparse.Namespace) -> int:
    """Print the graph of the machine's states.

    Raises:
        CommandError: the installed states do not form a complete machine.
    """
    from phase_boot.machine.diagram import PROMELA, draw  # noqa: PLC0415 - not for the help

    if options.format != PROMELA:
        sys.stdout.write(draw(options.format))
        return 0
    from phase_boot.machine.promela import promela  # noqa: PLC0415 - for this format alone
    from phase_boot.machine.registry import (  # noqa: PLC0415 - the same
        RegistryError,
        installed_handlers,
    )

    try:
        sys.stdout.write(promela(installed_handlers()))
    except RegistryError as error:
        raise CommandError(f"The installed states do not form a machine: {error}.") from None
    return 0


def add_completion(parser: argparse.ArgumentParser) -> None:
    """Add the options of `phase-boot completion`."""
    parser.set_defaults(func=f"{__name__}:completion")
    parser.add_argument("shell", choices=SHELLS, help="shell to print the script for")


def completion(options: argparse.Namespace) -> int:
    """Print a completion script."""
    from phase_boot.cli.completion import script  # noqa: PLC0415 - not for the help
    from phase_boot.cli.main import parser  # noqa: PLC0415 - the same

    sys.stdout.write(script(parser(), options.shell))
    return 0
