"""The builder's command line: `python -m image build --arch amd64`."""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from image import stick, target_image, tools
from image.build_cache import BuildCache, build_lock
from image.errors import BuildError
from image.recipe import CACHE_MIB, Recipe
from image.repository import BUILD, ROOT
from image.site_roots import copy_roots
from image.steps.certificates import read_authorities
from image.trust_config import TrustConfig, policy_files
from phase_boot.app import edge
from phase_boot.content.arch import Arch
from phase_boot.publish.errors import PublishError
from policies.model import PolicyError, Shell
from policies.write import ROOT_NAME, trust_from_options

CA_HELP = "PEM file of certificate authorities for HTTPS, besides Debian's"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the builder with ``arguments`` and return its exit status (`edge.STATUSES`)."""
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
    """Add the options of `build`."""
    command.add_argument("--arch", type=Arch.parse, required=True, help="amd64 or arm64")
    trust = command.add_mutually_exclusive_group(required=True)
    trust.add_argument("--root", type=Path, metavar="FILE", help="root that names the publishers")
    trust.add_argument("--key", action="append", help="key id of a fixed publisher")
    command.add_argument("--threshold", type=int, help="number of keys that must sign (default: 1)")
    command.add_argument("--channel", default="stable", help="channel to follow (default: stable)")
    command.add_argument("--url", action="append", default=[], help="manifest URL to try")
    command.add_argument(
        "--router", action="append", default=[], metavar="URL", help="delegated router to ask"
    )
    command.add_argument(
        "--gateway", action="append", default=[], metavar="URL", help="additional IPFS gateway"
    )
    command.add_argument(
        "--no-public", action="store_true", help="ask no public router, gateway or DHT of IPFS"
    )
    command.add_argument(
        "--bootstrap", action="append", default=[], metavar="MULTIADDR", help="peer of a DHT"
    )
    command.add_argument(
        "--ca", type=Path, action="append", default=[], metavar="FILE", help=CA_HELP
    )
    command.add_argument(
        "--root-shell", action="store_true", help="offer a root shell at the console"
    )
    command.add_argument(
        "--attended",
        action="store_true",
        help="after a failure, wait for a person instead of retrying after a pause",
    )
    command.add_argument(
        "--measured",
        action="store_true",
        help="for the boot benchmark only: it boots unverified",
    )
    command.add_argument("--cache-mib", type=int, default=CACHE_MIB, help="size of Cache in MiB")
    command.add_argument("--out", type=Path, help="image file to write")
    command.add_argument("--dry-run", action="store_true", help="print the plan and stop")
    command.set_defaults(run=build_image)


def add_target(command: argparse.ArgumentParser) -> None:
    """Add the options of `target`."""
    command.add_argument("--arch", type=Arch.parse, required=True, help="amd64 or arm64")
    command.add_argument("--channel", default="stable", help="channel to follow (default: stable)")
    command.add_argument("--version", help="dotted numbers (default: from the time)")
    command.add_argument(
        "--key", type=Path, help="publisher's key file; publishes nothing without it"
    )
    command.add_argument("--root", type=Path, metavar="FILE", help="root to publish")
    command.add_argument("--site", type=Path, help="folder of the SITE")
    command.add_argument(
        "--job", type=Path, action="append", default=[], metavar="FILE", help="additional job"
    )
    command.add_argument(
        "--module", type=Path, action="append", default=[], metavar="FILE", help="module of a job"
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
    publishing = target_image.PublishOptions(
        recipe=wanted,
        key=options.key,
        site=site,
        version=options.version,
        jobs=tuple(options.job),
        modules=tuple(options.module),
    )
    now = datetime.now(UTC).replace(microsecond=0)
    version = target_image.publish_target(publishing, files, now)
    print(f"{site}: version {version}")


def build_image(options: argparse.Namespace) -> None:
    """Build a stick's image and copy it to the output file."""
    wanted = Recipe(
        arch=options.arch,
        trust=TrustConfig(
            publishers=trust_from_options(
                sorted(options.key or ()), options.threshold, options.root, ROOT_NAME
            ),
            channel=options.channel,
            urls=tuple(options.url),
            routers=tuple(options.router),
            gateways=tuple(options.gateway),
            public=not options.no_public,
            bootstrap=tuple(options.bootstrap),
            authorities=read_authorities(options.ca),
            shell=Shell(root=options.root_shell, unattended=not options.attended),
        ),
        cache_mib=options.cache_mib,
        measured=options.measured,
    )
    policy_files(wanted.trust)
    builds = BuildCache(BUILD / wanted.arch, dry_run=options.dry_run)
    out = options.out or ROOT / f"dist/phase-boot-{wanted.arch}.img"
    with build_lock(builds.folder):
        made = stick.build_stick(builds, wanted)
        if not options.dry_run:
            stick.export(made, out)
    if not options.dry_run:
        print(f"{out} ({out.stat().st_size >> 20} MiB)")
