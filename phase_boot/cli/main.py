"""The command line: one table of commands, each imported when it is called.

A command's row names the function that adds its options; the options name the function that runs
it. Both are strings, ``module:function``, so that a command loads its own room and nothing else:
the daemon's start-up is part of every boot, and the seed carries no publisher, no job runner and no
drill at all. The whole parser is put together only for completion and the manual page.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NoReturn

from phase_boot.app import edge
from phase_boot.cli_support import CommandError, sentence

if TYPE_CHECKING:
    import argparse

COMMANDS: Final[Mapping[str, tuple[str, str]]] = MappingProxyType(
    {
        "daemon": (
            "phase_boot.cli.boot:add_options",
            "find, verify, download and boot a release (what the seed runs)",
        ),
        "fetch": (
            "phase_boot.cli.fetch:add_options",
            "download a release into a store, without booting it",
        ),
        "serve": (
            "phase_boot.provider.commands:add_serve",
            "serve a SITE or a store to the machines of this network",
        ),
        "publish": (
            "phase_boot.publish.commands:add_publish",
            "add a signed version of an OS to a SITE",
        ),
        "announce": (
            "phase_boot.announce.commands:add_announce",
            "sign the IPNS record of a SITE and send it to routers",
        ),
        "sign": (
            "phase_boot.publish.commands:add_sign",
            "show a manifest and sign it, without its artifacts",
        ),
        "verify": (
            "phase_boot.publish.commands:add_verify",
            "check a manifest file or a whole SITE",
        ),
        "receipts": (
            "phase_boot.publish.commands:add_receipts",
            "list the receipts of booted machines in a SITE",
        ),
        "prune": (
            "phase_boot.publish.commands:add_prune",
            "remove files from a SITE that no manifest names",
        ),
        "key": (
            "phase_boot.publish.keys.commands:add_key",
            "create, show and protect signing keys",
        ),
        "root": (
            "phase_boot.publish.roots.commands:add_root",
            "create, rotate, sign and show roots, which name the trusted keys",
        ),
        "policy": (
            "phase_boot.cli.tools:add_policy",
            "print a boot policy that trusts your publishers",
        ),
        "replay": (
            "phase_boot.cli.replay:add_options",
            "check a journal against the graph of the machine's states",
        ),
        "refusals": (
            "phase_boot.cli.tools:add_refusals",
            "list the reasons to refuse a document",
        ),
        "graph": (
            "phase_boot.cli.tools:add_graph",
            "print the graph of the machine's states",
        ),
        "drill": (
            "phase_boot.drill.commands:add_drill",
            "simulate a boot with injected faults and check its invariants",
        ),
        "plasma": (
            "phase_boot.plasma.commands:add_plasma",
            "run jobs and check their receipts",
        ),
        "completion": (
            "phase_boot.cli.tools:add_completion",
            "print a shell completion script",
        ),
    }
)
"""By name: the function that adds the options, and the help."""
_WITHOUT_OPTIONS: Final[Mapping[tuple[str, ...], str]] = MappingProxyType(
    {
        ("daemon",): "phase_boot.cli.boot:run_default",
        ("plasma", "boot"): "phase_boot.plasma.boot_jobs:main",
    }
)
"""Command lines of systemd units: importing argparse takes as long as a state of the machine."""
NOT_IN_SEED: Final = (
    *("phase_boot.cli", "phase_boot.provider.commands"),
    *("phase_boot.publish", "phase_boot.announce", "phase_boot.plasma", "phase_boot.drill"),
)
"""Packages that the seed lacks, except for the modules that `image.packed_modules` packs."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `phase-boot` with ``arguments`` and return its exit status (`edge.STATUSES`)."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    return edge.run(lambda: _main(words), whole=arguments is None)


def fetch_verify_kexec(arguments: Sequence[str] | None = None) -> int:
    """Run `phase-boot daemon` under its second name (SPEC M4.1) and return its exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    return edge.run(
        lambda: _run("daemon", words, prog="fetch-verify-kexec"), whole=arguments is None
    )


def parser(*, names_only: bool = False) -> argparse.ArgumentParser:
    """Return the parser of the whole command line.

    Args:
        names_only: leave out the options of the commands, and with them the import of every room.
    """
    import argparse  # noqa: PLC0415 - not on the boot path

    top = argparse.ArgumentParser(
        prog="phase-boot",
        description="Boot signed releases from mirrors, providers and peers.",
        epilog=edge.epilog(),
    )
    top.add_argument("--version", action=_version_action(), help="print the version and exit")
    commands = top.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for name, (add_options, text) in COMMANDS.items():
        command = commands.add_parser(name, help=text, description=sentence(text))
        if not names_only:
            _load(add_options)(command)
    return top


def _main(words: list[str]) -> int:
    words = words[1:] if words[:1] == ["--"] else words
    if words and words[0] in COMMANDS:
        return _run(words[0], words[1:], prog=f"phase-boot {words[0]}")
    # Without a command this prints the help or the version, or the error, and exits.
    parser(names_only=True).parse_args(words)
    return edge.USAGE


def _run(name: str, words: list[str], *, prog: str) -> int:
    """Run the command ``name`` with its options ``words``."""
    try:
        if (direct := _WITHOUT_OPTIONS.get((name, *words))) is not None:
            return int(_load(direct)())
        import argparse  # noqa: PLC0415 - not on the boot path

        add_options, text = COMMANDS[name]
        command = argparse.ArgumentParser(prog=prog, description=sentence(text))
        _load(add_options)(command)
        options = command.parse_args(words)
        return int(_load(options.func)(options))
    except CommandError as error:
        sys.stderr.write(f"{error}\n")
        return error.status
    except ModuleNotFoundError as error:
        if not _is_left_out(error.name or ""):
            raise
        sys.stderr.write(
            f"`phase-boot {name}` is not part of the seed: run it on a machine where phase-boot is "
            "installed with pip.\n"
        )
        return edge.USAGE


def _load(target: str) -> Callable[..., Any]:
    """Import and return the function that ``target`` names, as ``module:function``."""
    module, _, function = target.partition(":")
    __import__(module)
    loaded: Callable[..., Any] = getattr(sys.modules[module], function)
    return loaded


def _is_left_out(module: str) -> bool:
    """Return whether ``module`` is in a package that the seed lacks."""
    return any(module == room or module.startswith(f"{room}.") for room in NOT_IN_SEED)


def _version_action() -> type[argparse.Action]:
    """Return an action that reads the version only when requested, unlike argparse's own."""
    import argparse  # noqa: PLC0415 - not on the boot path

    class Version(argparse.Action):
        def __init__(self, option_strings: list[str], dest: str, **settings: str | None) -> None:
            super().__init__(option_strings, dest, nargs=0, help=settings.get("help"))

        def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
            from importlib.metadata import version  # noqa: PLC0415 - for this option alone

            sys.stdout.write(f"phase-boot {version('phase-boot')}\n")
            parser.exit()

    return Version
