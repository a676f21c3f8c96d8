"""Actions of `phase-boot key`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from phase_boot.publish.keys import passphrase
from phase_boot.publish.keys.keyfile import change_passphrase, new_key, read_key, read_keyfile
from phase_boot.trust.passphrase_box import Sealed


def new(options: argparse.Namespace) -> int:
    """Create a key and print its key id, which policies and roots name."""
    wanted = options.passphrase or options.passphrase_file is not None
    chosen = _chosen(options.file, options.passphrase_file) if wanted else None
    sys.stdout.write(f"{new_key(options.file, chosen).keyid}\n")
    return 0


def show(options: argparse.Namespace) -> int:
    """Print the key id of a key file; an encrypted one needs no passphrase for that."""
    sys.stdout.write(f"{read_keyfile(options.file).keyid}\n")
    return 0


def change(options: argparse.Namespace) -> int:
    """Add, change or remove the passphrase of a key file."""
    path: Path = options.file
    was_sealed = isinstance(read_keyfile(path).secret, Sealed)
    key = read_key(path, passphrase.from_files(options.passphrase_file))
    chosen = None if options.remove else _chosen(path, options.new_passphrase_file)
    change_passphrase(path, key, chosen)
    now = "has no passphrase now" if chosen is None else "opens with the new passphrase only"
    then = " (it had none)" if not was_sealed else ""
    sys.stdout.write(f"{path} {now}{then}\n")
    return 0


def _chosen(path: Path, file: Path | None) -> bytes:
    return passphrase.chosen(path) if file is None else passphrase.from_file(file)
