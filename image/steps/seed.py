"""What is the seed's own in its root: Python, policies, launchers, certificates."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from image import recipe as names
from image.recipe import SEED_FILES, Trusting
from image.steps import packages as debian
from image.steps import python, roots, tree
from image.steps.python import SITE
from image.tools import epoch
from image.workshop import ROOT, discard
from loader.entries import MENU
from policies.model import policy_from

LAUNCHERS: Final = {"phase-boot": "main", "fetch-verify-kexec": "fetch_verify_kexec"}
LINKS: Final = {
    "cas": "cache/cas",
    "etc/policy.toml": "phase-boot/internet.toml",
    "etc/systemd/system/default.target": "/usr/lib/systemd/system/phase-boot.target",
    "usr/bin/python3": "python3.13",
}


def root(
    packages: Path,
    interpreter: Path,
    parts: Sequence[tuple[Path, str]],
    recipe: names.Recipe,
    out: Path,
) -> None:
    """Create the seed's root at ``out``.

    Args:
        packages: Debian's files.
        interpreter: a root with the same Python for this machine.
        parts: other trees, each with the place it goes to, relative to the root.
        recipe: what to build.
        out: the folder to create.
    """
    roots.assemble(packages, [SEED_FILES], parts, recipe.platform, out)
    library = out / "usr/lib/python3.13"
    python.compile_all(interpreter, library, "/usr/lib/python3.13")
    _write_generated(out, recipe)
    roots.finish(out, ["cache"], LINKS, epoch())


def certificates(suite: str, arch: str, out: Path) -> None:
    """Write the certificates of Debian's list into one file, where OpenSSL looks for it."""
    unpacked = out.with_name(out.name + ".packages")
    debian.extract(suite, arch, names.CERTIFICATES, unpacked)
    found = sorted((unpacked / "usr/share/ca-certificates").rglob("*.crt"))
    bundle = "".join(path.read_text(encoding="utf-8").rstrip() + "\n" for path in found)
    tree.write(out / "etc/ssl/certs/ca-certificates.crt", bundle)
    (out / "usr/lib/ssl").mkdir(parents=True)
    (out / "usr/lib/ssl/cert.pem").symlink_to("../../../etc/ssl/certs/ca-certificates.crt")
    discard(unpacked)


def _write_generated(out: Path, recipe: names.Recipe) -> None:
    for name, function in LAUNCHERS.items():
        tree.write(out / f"usr/bin/{name}", launcher(function), executable=True)
    for mode in MENU:
        template = (ROOT / f"policies/{mode}.toml").read_text(encoding="utf-8")
        policy = compiled(template, recipe.trusting)
        tree.write(out / f"etc/phase-boot/{mode}.toml", policy)
    tree.write(
        out / "etc/os-release",
        roots.os_release("Phase Boot Seed", names.version(), recipe.platform),
    )
    tree.write(out / "usr/lib/clock-epoch", "")
    built = datetime.fromtimestamp(epoch(), UTC).isoformat()
    tree.write(out / "etc/phase-boot/built", built + "\n")


def launcher(function: str) -> str:
    """Return the script that starts ``function`` of our command line in the fewest steps."""
    lines = [
        "#!/usr/bin/python3 -IS",
        "import sys",
        f'sys.path.append("/{SITE}")',
        f"from phase_boot.cli import {function}",
        f"sys.exit({function}())",
    ]
    return "\n".join(lines) + "\n"


def compiled(template: str, trusting: Trusting) -> str:
    """Return the policy ``template`` with its trust filled in, and refuse it if it is unsound.

    Raises:
        PolicyError: It would not be understood in the seed.
        ValueError: The template has no place for one of the settings.
    """
    settings = {
        "channel": f'"{trusting.channel}"',
        "keys": _array(trusting.keys),
        "threshold": str(trusting.threshold),
        "urls": _array(trusting.urls),
    }
    text = template
    for key, value in settings.items():
        text, hits = re.subn(rf"(?m)^{key} = [^#\n]*?(\s*(?:#.*)?)$", rf"{key} = {value}\1", text)
        if hits != 1:
            raise ValueError(f"the policy template has {hits} lines of {key!r}; one is expected")
    if trusting.keys:
        policy_from(tomllib.loads(text))
    return text


def _array(values: Iterable[str]) -> str:
    return "[" + ", ".join(f'"{value}"' for value in values) + "]"
