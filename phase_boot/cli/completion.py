"""Shell completion, generated from the parser of the command line: the only importer of shtab."""

from __future__ import annotations

import argparse

from phase_boot.cli_support import CommandError


class NoCompletion(CommandError):
    """shtab is missing, so no completion script can be generated."""


def script(parser: argparse.ArgumentParser, shell: str) -> str:
    """Return the script with which ``shell`` completes the commands and options of ``parser``.

    Raises:
        NoCompletion: shtab is missing.
    """
    try:
        import shtab  # noqa: PLC0415 - an extra, and not on the boot path
    except ImportError as error:
        raise NoCompletion(
            f"{error.name} is missing, which generates completion scripts: install phase-boot with "
            "its extra, `pip install 'phase-boot[publish]'`."
        ) from None
    _complete_files(parser, shtab.FILE, shtab.DIRECTORY)
    return str(shtab.complete(parser, shell=shell))


def _complete_files(parser: argparse.ArgumentParser, file: object, folder: object) -> None:
    """Complete arguments that name a file or a folder with the names of files or folders."""
    for action in parser._actions:  # noqa: SLF001 - argparse has no other list of them
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001 - and no other name
            for command in action.choices.values():
                _complete_files(command, file, folder)
        elif action.metavar in {"SITE", "DIR"}:
            action.complete = folder  # type: ignore[attr-defined]
        elif getattr(action.type, "__name__", "") == "Path":
            action.complete = file  # type: ignore[attr-defined]
