"""`phase-boot announce`: reads the options, signs or compares, and prints one line a place."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from phase_boot.adapters.http.exchange import Answer
from phase_boot.adapters.http.response import OK
from phase_boot.announce.providing import look, provide
from phase_boot.announce.provision import Provision
from phase_boot.announce.rounds import visit
from phase_boot.announce.servers import Kind, Limits, Server
from phase_boot.announce.sighting import Sighting, State, judge
from phase_boot.announce.site_record import (
    Announced,
    Terms,
    announce_site,
    newest_record,
    site_chain,
)
from phase_boot.announce.site_roots import site_roots
from phase_boot.content.arch import Arch
from phase_boot.publish.arguments import read_as
from phase_boot.publish.errors import PublishError, UsageError
from phase_boot.publish.keys.keyfile import read_key
from phase_boot.publish.keys.passphrase import from_files
from phase_boot.store.layout import RECORD_TYPE
from phase_boot.trust.announcement import MAX_MIRRORS
from phase_boot.trust.fields import parse_mirror
from phase_boot.trust.ipns_name import IpnsName
from phase_boot.trust.ipns_record import IpnsRecord
from phase_boot.url import announced, base_url

LIMITS: Final = Limits()
_SITE: Final = "site"


def announce(options: argparse.Namespace) -> int:
    """Announce a SITE, or with --check compare.

    The status is 0 if every place has the record, and every kubo node provides the SITE.
    """
    site: Path = options.site
    if not site.is_dir():
        raise PublishError(f"{site} is not a folder: name the root of a SITE.")
    return _check(options) if options.check else _announce(options)


def _announce(options: argparse.Namespace) -> int:
    if options.imports and not options.kubo:
        raise UsageError("--import puts the SITE into a --kubo node: name one.")
    if options.gateway:
        raise UsageError("Nothing can be put to a --gateway: add --check to read it.")
    mirrors = tuple(read_as("--mirror", _announced_mirror, url) for url in options.mirror)
    if len(mirrors) > MAX_MIRRORS:
        raise UsageError(f"A record names at most {MAX_MIRRORS} mirrors: leave some out.")
    servers = [*_servers(Kind.ROUTER, options.router), *_servers(Kind.KUBO, options.kubo)]
    key = read_key(options.key, from_files(options.passphrase_file))
    terms = Terms(
        now=datetime.now(UTC).replace(microsecond=0),
        validity=timedelta(hours=options.validity),
        mirrors=mirrors,
        providers=tuple(options.provider),
    )
    result = announce_site(options.site, key, terms)
    _warn(result)
    record = result.record
    own = _of_site(options.site, record)
    # Before the record leads machines there.
    provisions = _provisions(options, servers, result.places.found)
    return _report([own, *_visited(servers, record, sends=True)], provisions, options)


def _check(options: argparse.Namespace) -> int:
    if options.provider:
        raise UsageError("--provider is for a record that is signed: leave it out with --check.")
    if options.imports:
        raise UsageError("--check sends nothing: leave --import out.")
    servers = [
        *_servers(Kind.ROUTER, options.router),
        *_servers(Kind.KUBO, options.kubo),
        *_servers(Kind.GATEWAY, options.gateway),
        *_servers(Kind.MIRROR, options.mirror),
    ]
    chain = site_chain(options.site)
    records = (newest_record(options.site, IpnsName(keyid)) for keyid in chain.announcers)
    found = [record for record in records if record is not None]
    if not found:
        raise PublishError(
            f"{options.site} has no record of a key that root {chain.version} names as an "
            "announcing key: run `phase-boot announce` with --key first."
        )
    seen = []
    for record in found:
        seen.append(_of_site(options.site, record))
        seen += _visited(servers, record, sends=False)
    named = sorted({release for record in found for release in record.announcement.places})
    return _report(seen, _provisions(options, servers, named), options)


def _announced_mirror(text: str) -> str:
    """Return ``text`` if machines take it as a mirror of a record; raise BadUrl otherwise."""
    announced(text)
    return parse_mirror(text)


def _servers(kind: Kind, urls: Iterable[str]) -> list[Server]:
    return [Server(kind, read_as(f"--{kind}", base_url, url)) for url in dict.fromkeys(urls)]


def _visited(servers: list[Server], record: IpnsRecord, *, sends: bool) -> list[Sighting]:
    return asyncio.run(visit(servers, record, LIMITS, sends=sends)) if servers else []


def _provisions(
    options: argparse.Namespace, servers: list[Server], releases: Iterable[tuple[str, Arch]]
) -> list[Provision]:
    """Import and provide what the SITE holds of ``releases``; with --check ask for it."""
    nodes = [server for server in servers if server.kind is Kind.KUBO]
    if not nodes:
        return []
    roots = site_roots(options.site, releases)
    if options.check:
        return asyncio.run(look(nodes, options.site, roots, LIMITS))
    return asyncio.run(provide(nodes, options.site, roots, LIMITS, imports=options.imports))


def _of_site(site: Path, record: IpnsRecord) -> Sighting:
    """Return the sighting of the record in the SITE, which may have expired."""
    unjudged = Sighting(
        kind=_SITE, place=str(site), ours=record, now=datetime.now(UTC), state=State.ABSENT
    )
    return judge(unjudged, Answer(OK, RECORD_TYPE, record.raw))


def _report(seen: list[Sighting], provisions: list[Provision], options: argparse.Namespace) -> int:
    lines: list[Sighting | Provision] = [*seen, *provisions]
    for each in lines:
        if isinstance(each, Sighting) and each.kind == _SITE and not options.json:
            sys.stdout.write(f"{each.ours.name}\n")
        sys.stdout.write(f"{each.as_json() if options.json else each.line()}\n")
    bad = sum(not each.good for each in seen)
    if bad:
        sys.stderr.write(f"{bad} of {len(seen)} places do not have the record of the SITE.\n")
    lacking = sum(not each.good for each in provisions)
    if lacking:
        verb = "find no provider of" if options.check else "do not provide"
        sys.stderr.write(f"{lacking} of {len(provisions)} IPFS nodes {verb} all of the SITE.\n")
    return 1 if bad or lacking else 0


def _warn(result: Announced) -> None:
    for path, why in result.places.refused.items():
        sys.stderr.write(f"{path} is not announced: {why}\n")
