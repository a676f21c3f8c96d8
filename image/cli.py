"""The builder's command line: `python -m image build --arch amd64`."""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from image import stick, target_image, tools
from image.build_cache import BUILD, ROOT, BuildCache, build_lock
from image.errors import BuildError
from image.recipe import CACHE_MIB, Recipe, TrustConfig
from image.site_roots import copy_roots
from image.steps import seed
from phase_boot.app import edge
from phase_boot.content.arch import Arch
from phase_boot.publish.errors import PublishError
from policies.model import PolicyError, Shell
from policies.write import ROOT_NAME, trust_from_options

CA_HELP = "certificate authorities of one's own, in PEM, added to Debian's for HTTPS"


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says, and return the exit status (`edge.STATUSES`)."""
    return edge.run(lambda: _main(arguments), whole=arguments is None)


def _main(arguments: Sequence[str] | None) -> int:
    options = parser().parse_args(arguments)
    try:
        options.run(options)
    except (BuildError, PolicyError, PublishError, ValueError) as error:
        print(f"image: {error}", file=sys.stderr)
        return 2
    except subprocess.CalledProcessError as error:
        command = " ".join(map(str, error.cmd))
        print(f"image: {command} ended with status {error.returncode}", file=sys.stderr)
        print("\n".join(getattr(error, "__notes__", ())), file=sys.stderr)
        return 1
    return 0


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    top = argparse.ArgumentParser(prog="python -m image", description=__doc__)
    commands = top.add_subparsers(required=True)
    add_build(commands.add_parser("build", help="build the stick"))
    add_target(commands.add_parser("target", help="build the example target and publish it"))
    listing = commands.add_parser("packages", help="list the apt packages that a build needs")
    listing.set_defaults(run=lambda _: print(*tools.packages()))
    return top


def add_build(command: argparse.ArgumentParser) -> None:
    """Describe `build`."""
    command.add_argument("--arch", type=Arch.parse, required=True, help="amd64 or arm64")
    whom = command.add_mutually_exclusive_group(required=True)
    whom.add_argument("--root", type=Path, metavar="FILE", help="a root that names the publishers")
    whom.add_argument("--key", action="append", help="a publisher (key id), for ever")
    command.add_argument("--threshold", type=int, help="how many of the keys must sign; 1")
    command.add_argument("--channel", default="stable")
    command.add_argument("--url", action="append", default=[], help="a manifest URL to try")
    command.add_argument(
        "--gateway", action="append", default=[], metavar="URL", help="an IPFS gateway to ask too"
    )
    command.add_argument(
        "--ca", type=Path, action="append", default=[], metavar="FILE", help=CA_HELP
    )
    command.add_argument(
        "--root-shell", action="store_true", help="let the person at the machine be root"
    )
    command.add_argument(
        "--attended",
        action="store_true",
        help="after a failure wait for a person and never try again without one",
    )
    command.add_argument(
        "--measured", action="store_true", help="for the bench alone: believes any mirror"
    )
    command.add_argument("--cache-mib", type=int, default=CACHE_MIB)
    command.add_argument("--out", type=Path, help="the image file")
    command.add_argument("--dry-run", action="store_true", help="print the plan and stop")
    command.set_defaults(run=build_image)


def add_target(command: argparse.ArgumentParser) -> None:
    """Describe `target`."""
    command.add_argument("--arch", type=Arch.parse, required=True, help="amd64 or arm64")
    command.add_argument("--channel", default="stable")
    command.add_argument("--version", help="dotted numbers; without it, made of the time")
    command.add_argument("--key", type=Path, help="the publisher's key file; without it, no SITE")
    command.add_argument("--root", type=Path, metavar="FILE", help="publish it, and what follows")
    command.add_argument("--site", type=Path, help="the mirror's folder")
    command.add_argument(
        "--job", type=Path, action="append", default=[], metavar="FILE", help="it runs this too"
    )
    command.add_argument(
        "--module", type=Path, action="append", default=[], metavar="FILE", help="what a job runs"
    )
    command.add_argument("--dry-run", action="store_true", help="print the plan and stop")
    command.set_defaults(run=build_target)


def build_target(options: argparse.Namespace) -> None:
    """Build the example target, and publish it if there is a key."""
    wanted = Recipe(arch=options.arch, trust=TrustConfig(channel=options.channel))
    builds = BuildCache(BUILD / wanted.arch, dry_run=options.dry_run)
    with build_lock(builds.folder):
        made = target_image.build_artifacts(builds, wanted)
        if options.dry_run:
            return
        files = target_image.link_artifacts(made, wanted)
    if options.key is None:
        print(f"{files['rootfs'].parent} is not published; name a key with --key.")
        return
    site = options.site or ROOT / f"dist/site-{wanted.arch}"
    if options.root is not None:
        copy_roots(options.root, site)
    order = target_image.PublishOptions(
        recipe=wanted,
        key=options.key,
        site=site,
        version=options.version,
        jobs=tuple(options.job),
        modules=tuple(options.module),
    )
    version = target_image.publish_target(order, files, datetime.now(UTC).replace(microsecond=0))
    print(f"{site}: version {version}")


def build_image(options: argparse.Namespace) -> None:
    """Build an image and put it where it was asked for."""
    wanted = Recipe(
        arch=options.arch,
        trust=TrustConfig(
            publishers=trust_from_options(
                sorted(options.key or ()), options.threshold, options.root, ROOT_NAME
            ),
            channel=options.channel,
            urls=tuple(options.url),
            gateways=tuple(options.gateway),
            authorities=seed.read_authorities(options.ca),
            shell=Shell(root=options.root_shell, unattended=not options.attended),
        ),
        cache_mib=options.cache_mib,
        measured=options.measured,
    )
    seed.policy_files(wanted.trust)
    builds = BuildCache(BUILD / wanted.arch, dry_run=options.dry_run)
    out = options.out or ROOT / f"dist/phase-boot-{wanted.arch}.img"
    with build_lock(builds.folder):
        made = stick.build_stick(builds, wanted)
        if not options.dry_run:
            stick.export(made, out)
    if not options.dry_run:
        print(f"{out} ({out.stat().st_size >> 20} MiB)")
