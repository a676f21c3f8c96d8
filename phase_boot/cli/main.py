"""The command line: which words there are, and whom they call. Everything slow is imported late."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

from phase_boot.app import edge

if TYPE_CHECKING:
    import argparse

FORMATS: Final = ("mermaid", "dot", "promela")
SHELLS: Final = ("bash", "zsh", "tcsh")
GATEWAY_HELP: Final = "a trustless IPFS gateway to ask for chunks too"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `phase-boot` with ``arguments`` and return its exit status (`edge.STATUSES`)."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    return edge.run(lambda: _main(words), whole=arguments is None)


def _main(words: list[str]) -> int:
    if words[:1] == ["daemon"]:
        # The boot path: nothing is imported for the commands that a stick never runs.
        return _boot("phase-boot daemon", words[1:])
    if words == ["plasma", "boot"]:
        # In the booted system: the other commands' options take as long as a job.
        from phase_boot.plasma import boot_jobs  # noqa: PLC0415 - no other command needs it

        return boot_jobs.main()
    options = parser().parse_args(words)
    status: int = options.func(options)
    return status


def fetch_verify_kexec(arguments: Sequence[str] | None = None) -> int:
    """Run the whole chain as one command (SPEC M4.1) and return its exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    return edge.run(lambda: _boot("fetch-verify-kexec", words), whole=arguments is None)


def _boot(program: str, words: list[str]) -> int:
    if not words:
        # As the seed's unit starts it; reading options takes as long as a state of the machine.
        from phase_boot.app.daemon import Settings, run  # noqa: PLC0415 - other commands need none of it

        return run(Settings())
    import argparse  # noqa: PLC0415 - see above

    options = argparse.ArgumentParser(prog=program)
    _boot_options(options)
    return _daemon(options.parse_args(words))


def parser() -> argparse.ArgumentParser:
    """Return the parser of every command."""
    import argparse  # noqa: PLC0415 - not on the boot path

    from phase_boot.cli_support import add_json  # noqa: PLC0415 - the same
    from phase_boot.plasma import commands as plasma  # noqa: PLC0415 - not on the boot path
    from phase_boot.provider import commands as provider  # noqa: PLC0415 - not on the boot path
    from phase_boot.publish import commands as publish  # noqa: PLC0415 - the same

    words = argparse.ArgumentParser(
        prog="phase-boot",
        description="Boot what is signed, from whoever has it.",
        epilog=edge.epilog(),
    )
    words.add_argument("--version", action=_show_version(), help="print the version and exit")
    commands = words.add_subparsers(title="commands", required=True, metavar="COMMAND")
    daemon = commands.add_parser("daemon", help="find, verify, fetch and boot (what the seed runs)")
    daemon.set_defaults(func=_daemon)
    _boot_options(daemon)
    _register_fetch(commands)
    graph = commands.add_parser("graph", help="draw the states of the machine")
    graph.add_argument("--format", choices=FORMATS, default="mermaid")
    graph.set_defaults(func=_graph)
    refusals = commands.add_parser("refusals", help="list why something is not believed")
    add_json(refusals)
    refusals.set_defaults(func=_refusals)
    _register_replay(commands)
    completion = commands.add_parser("completion", help="print a script that completes commands")
    completion.add_argument("shell", choices=SHELLS)
    completion.set_defaults(func=_completion)
    _register_policy(commands)
    drill = commands.add_parser("drill", help="boot among fakes that fail, and see what holds")
    drill.add_argument("--seed", type=int, help="repeat this drill; without it one is drawn")
    drill.add_argument("--mode", choices=("internet", "local", "private"))
    drill.add_argument("--faults", type=int, default=2, metavar="N", help="how many; 2")
    drill.set_defaults(func=_drill)
    publish.register(commands)
    provider.register(commands)
    plasma.register(commands)
    return words


def _register_fetch(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    from phase_boot.provider.commands import port  # noqa: PLC0415 - not on the boot path

    fetch = commands.add_parser("fetch", help="download a release into a store, without booting it")
    fetch.add_argument("url", metavar="URL", help="URL of a manifest, or of a mirror's folder")
    fetch.add_argument(
        "--store", type=Path, required=True, metavar="DIR", help="folder of the store"
    )
    fetch.add_argument(
        "--source", action="append", default=[], metavar="URL", help="additional mirror"
    )
    fetch.add_argument("--gateway", action="append", default=[], metavar="URL", help=GATEWAY_HELP)
    trusted = fetch.add_mutually_exclusive_group(required=True)
    trusted.add_argument("--policy", type=Path, metavar="FILE", help="whom to trust, and for what")
    trusted.add_argument("--key", action="append", help="a publisher's key id")
    trusted.add_argument("--root", type=Path, metavar="FILE", help="a root that names publishers")
    fetch.add_argument("--threshold", type=int, help="number of keys that must sign (default: 1)")
    fetch.add_argument("--channel", default="stable", help="where the URL does not name it")
    fetch.add_argument("--journal", type=Path, help="write the events to this file")
    fetch.add_argument(
        "--serve",
        type=port,
        metavar="PORT",
        help="serve it to peers, during the download and after, until Ctrl-C; 0 takes a free port",
    )
    fetch.set_defaults(func=_fetch)


def _register_replay(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    replay = commands.add_parser("replay", help="check that a machine can have written a journal")
    replay.add_argument(
        "file", type=Path, metavar="FILE", help="a journal of one event per line, or handoff.json"
    )
    replay.add_argument(
        "--manifest", type=Path, metavar="FILE", help="compare the journal with this manifest"
    )
    whom = replay.add_mutually_exclusive_group()
    whom.add_argument("--key", action="append", help="a publisher's key id, or the file of a key")
    whom.add_argument(
        "--root", type=Path, metavar="FILE", help="a root; those beside it that follow count too"
    )
    replay.add_argument("--threshold", type=int, help="number of keys that must sign (default: 1)")
    replay.set_defaults(func=_replay)


def _register_policy(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    policy = commands.add_parser("policy", help="print a policy that trusts your publishers")
    policy.add_argument("--mode", default="internet", help="internet, local or private")
    whom = policy.add_mutually_exclusive_group(required=True)
    whom.add_argument("--key", action="append", help="a publisher's key id, for ever")
    whom.add_argument("--root", type=Path, metavar="FILE", help="a root that names the publishers")
    policy.add_argument("--threshold", type=int, help="how many of the keys must sign; 1")
    policy.add_argument("--channel", default="stable")
    policy.add_argument("--url", action="append", default=[], help="a manifest URL to try")
    policy.add_argument("--gateway", action="append", default=[], help=GATEWAY_HELP)
    policy.set_defaults(func=_policy)


def _boot_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--policy", type=Path, help="this policy file instead of the seed's own")
    parser.add_argument("--mode", help="internet, local or private, instead of the boot menu's")
    parser.add_argument("--url", help="a manifest URL to try first")
    parser.add_argument("--ask", action="store_true", help="ask a person before anything is tried")
    parser.add_argument("--dry-run", action="store_true", help="do all but the jump, and tell")
    parser.add_argument(
        "--unattended",
        action="store_true",
        help="try again after a pause, as a machine without a person does (dry run)",
    )
    parser.add_argument("--store", type=Path, help="keep artifacts in this folder (dry run)")
    parser.add_argument("--journal", type=Path, help="write the events to this file")


def _daemon(options: argparse.Namespace) -> int:
    from phase_boot.app.daemon import Settings, run  # noqa: PLC0415 - other commands need none of it

    return run(
        Settings(
            policy=options.policy,
            mode=options.mode,
            url=options.url,
            dry_run=options.dry_run,
            unattended=options.unattended,
            ask=options.ask,
            store=options.store,
            journal=options.journal,
        )
    )


def _fetch(options: argparse.Namespace) -> int:
    from phase_boot.privsep.worker import start_worker  # noqa: PLC0415 - other commands need none of it
    from phase_boot.provider.errors import ProvideError  # noqa: PLC0415 - the same

    # Before there is anything that the other process must not have, and so that both of us
    # import what is slow at once.
    try:
        worker = start_worker(user=None, discovers=False, port=options.serve or 0)
    except ProvideError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    try:
        from phase_boot.app.prefetch import PrefetchRequest, prefetch  # noqa: PLC0415 - the same

        return prefetch(
            PrefetchRequest(
                url=options.url,
                store=options.store,
                sources=tuple(options.source),
                gateways=tuple(options.gateway),
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


def _graph(options: argparse.Namespace) -> int:
    from phase_boot.machine.diagram import PROMELA, draw  # noqa: PLC0415 - not on the boot path

    if options.format != PROMELA:
        sys.stdout.write(draw(options.format))
        return 0
    from phase_boot.machine.promela import promela  # noqa: PLC0415 - the same
    from phase_boot.machine.registry import (  # noqa: PLC0415
        RegistryError,
        installed_handlers,
    )

    try:
        sys.stdout.write(promela(installed_handlers()))
    except RegistryError as error:
        sys.stderr.write(f"The states cannot be put together: {error}.\n")
        return 1
    return 0


def _completion(options: argparse.Namespace) -> int:
    from phase_boot.cli.completion import NoCompletion, script  # noqa: PLC0415 - not on the boot path

    try:
        sys.stdout.write(script(parser(), options.shell))
    except NoCompletion as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _show_version() -> type[argparse.Action]:
    """Return an option that prints the version; argparse's own needs it before it is asked for."""
    import argparse  # noqa: PLC0415 - not on the boot path

    class Version(argparse.Action):
        def __init__(self, option_strings: list[str], dest: str, **settings: str | None) -> None:
            super().__init__(option_strings, dest, nargs=0, help=settings.get("help"))

        def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
            from importlib.metadata import version  # noqa: PLC0415 - for this option alone

            sys.stdout.write(f"phase-boot {version('phase-boot')}\n")
            parser.exit()

    return Version


def _refusals(options: argparse.Namespace) -> int:
    from phase_boot.trust.refusals_page import page, table  # noqa: PLC0415 - not on the boot path

    sys.stdout.write(table() if options.json else page())
    return 0


def _replay(options: argparse.Namespace) -> int:
    from phase_boot.cli import replay  # noqa: PLC0415 - not on the boot path
    from phase_boot.cli_support import report_errors  # noqa: PLC0415 - the same

    return report_errors(replay.run)(options)


def _drill(options: argparse.Namespace) -> int:
    import random  # noqa: PLC0415 - not on the boot path

    from phase_boot.console.display import display_of  # noqa: PLC0415 - the same
    from phase_boot.drill.cli import tell  # noqa: PLC0415 - the same

    drawn = random.randrange(1_000_000)  # noqa: S311 - which drill it is is no secret
    seed = drawn if options.seed is None else options.seed
    faults = max(0, options.faults)
    return tell(seed, options.mode, faults, sys.stdout.write, display_of(sys.stdout))


def _policy(options: argparse.Namespace) -> int:
    from policies.model import Mode, PolicyError  # noqa: PLC0415 - not on the boot path
    from policies.write import SourceUrls, render_policy, trust_from_options  # noqa: PLC0415 - the same

    try:
        whom = trust_from_options(options.key, options.threshold, options.root)
        text = render_policy(
            Mode(options.mode),
            whom=whom,
            channel=options.channel,
            places=SourceUrls(urls=tuple(options.url), gateways=tuple(options.gateway)),
        )
    except (PolicyError, ValueError) as error:
        sys.stderr.write(f"This would be no policy: {error}.\n")
        return 1
    sys.stdout.write(text)
    return 0
