"""What `phase-boot fetch` is asked for: a URL or an IPNS name, the trust, and the servers.

A policy file counts as it is; servers of the command line come before its own. Without a file the
rules are those of Internet mode, whose public servers are asked for an IPNS name alone, and only if
the command line names no server.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from phase_boot.content.arch import Arch
from phase_boot.store.layout import manifest_path, read_manifest_path
from phase_boot.trust.ipns_name import IpnsName
from phase_boot.url import BadUrl, Url
from policies.bootstrap import bootstrap_from
from policies.model import Mode, Policy, PolicyError
from policies.read import parse_policy, read_policy
from policies.servers import NO_SERVERS, Servers, gateways_from, routers_from
from policies.write import render_policy, trust_from_options

MIB: Final = 1024 * 1024
UNBOUNDED: Final = 1 << 60
"""Bytes of a store without a limit."""
NAME_PREFIXES: Final = ("ipns://", "/ipns/")
"""What stands before an IPNS name, as programs of IPFS write it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PrefetchRequest:
    """What to download, where to, and the keys or the root to trust.

    Attributes:
        url: URL of a manifest or of a mirror's folder, or an IPNS name after `NAME_PREFIXES`, which
            a manifest's path may follow.
        serve: port at which artifacts are served to peers, during the download and after it until
            the process is interrupted; 0 takes a free port, None serves nothing.
        sources: base URLs of additional mirrors, beside those that the manifest names.
        routers: base URLs of delegated routers, beside those of the policy.
        gateways: base URLs of trustless gateways of IPFS, beside those of the policy.
        bootstrap: multiaddrs of peers of a DHT, beside those of the policy.
        policy: file of a policy; without it ``keys`` or ``root`` are trusted and the store has no
            limit.
    """

    url: str
    store: Path
    sources: tuple[str, ...] = ()
    routers: tuple[str, ...] = ()
    gateways: tuple[str, ...] = ()
    bootstrap: tuple[str, ...] = ()
    policy: Path | None = None
    keys: tuple[str, ...] = ()
    threshold: int | None = None
    root: Path | None = None
    channel: str = "stable"
    journal: Path | None = None
    serve: int | None = None


class InvalidRequest(Exception):
    """The request is invalid; the text is a sentence with the way out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A valid request, with its policy and its parsed URLs.

    Attributes:
        place: the base URL of a mirror layout, or the IPNS name under which one is looked up.
        bound: size of the store in bytes, at most.
        now: the time of the request.
        own: this machine's addresses, which nothing that strangers name may be.
    """

    place: str | IpnsName
    arch: Arch
    policy: Policy
    sources: tuple[str, ...]
    bound: int
    request: PrefetchRequest
    own: frozenset[str] = frozenset()
    now: datetime = field(default_factory=lambda: datetime.now(UTC))


@dataclass(frozen=True, slots=True)
class _Location:
    """Where the manifest is, and what its path says of it."""

    place: str | IpnsName
    named: tuple[str, Arch] | None


def plan_of(request: PrefetchRequest) -> Plan:
    """Check a request and read its files.

    Raises:
        InvalidRequest: an option is invalid, or two contradict each other.
    """
    location = _locate(request.url)
    policy, bound = _policy(request, location)
    if not policy.cache_enabled:
        raise InvalidRequest(f"A policy of mode {policy.mode} stores nothing; name another one.")
    channel, arch = location.named or (policy.channel, _own_arch())
    if channel != policy.channel:
        raise InvalidRequest(f"The policy has the channel {policy.channel}, not {channel}.")
    return Plan(
        place=location.place,
        arch=arch,
        policy=_with_servers(request, policy),
        sources=tuple(str(_parse_url(url)) for url in request.sources),
        bound=bound,
        request=request,
    )


def _locate(text: str) -> _Location:
    prefix = next((each for each in NAME_PREFIXES if text.startswith(each)), None)
    return _locate_url(text) if prefix is None else _locate_name(text.removeprefix(prefix))


def _locate_name(text: str) -> _Location:
    name, _, path = text.partition("/")
    try:
        place = IpnsName.parse(name)
    except ValueError as error:
        raise InvalidRequest(
            f"{name!r:.100} is no IPNS name: {error}; for another name give its URL at a gateway, "
            "https://GATEWAY/ipns/NAME."
        ) from error
    named = read_manifest_path(path.rstrip("/"))
    if path.strip("/") and named is None:
        raise InvalidRequest(
            f"{path!r:.100} is no path of a manifest; write {manifest_path('stable', Arch.AMD64)}, "
            "or nothing after the name."
        )
    return _Location(place, named)


def _locate_url(text: str) -> _Location:
    """Return the base URL, and the channel and architecture that the URL of a manifest names."""
    url = _parse_url(text)
    tail = "/".join(url.path.rsplit("/", 3)[1:])
    named, base = read_manifest_path(tail), url.base(tail)
    if named is not None and base is not None:
        return _Location(str(base), named)
    return _Location(str(replace(url, path=url.path.rstrip("/"))), None)


def _own_arch() -> Arch:
    try:
        return Arch.parse(os.uname().machine)
    except ValueError as error:
        raise InvalidRequest(f"Name a manifest: {error}.") from error


def _policy(request: PrefetchRequest, location: _Location) -> tuple[Policy, int]:
    """Return the policy, and the bound of the store; the path of a manifest names the channel."""
    by_name = isinstance(location.place, IpnsName)
    channel = location.named[0] if location.named else request.channel
    try:
        if request.policy is not None:
            policy = read_policy(request.policy)
            return policy, policy.limits.cache_mib * MIB
        trust = trust_from_options(request.keys, request.threshold, request.root)
        text = render_policy(Mode.INTERNET, trust=trust, channel=channel)
        policy = parse_policy(text.encode(), read=trust.read)
    except (PolicyError, ValueError) as error:
        raise InvalidRequest(f"The trust options are invalid: {error}.") from error
    asks_public = by_name and not (request.routers or request.gateways or request.bootstrap)
    return policy if asks_public else replace(policy, public=NO_SERVERS), UNBOUNDED


def _with_servers(request: PrefetchRequest, policy: Policy) -> Policy:
    """Return the policy with the servers of the command line before its own."""
    rules = policy.discovery
    try:
        own = Servers(
            routers=routers_from(request.routers),
            gateways=gateways_from(request.gateways),
            bootstrap=bootstrap_from(request.bootstrap),
        )
    except ValueError as error:
        raise InvalidRequest(f"Name another server: {error}.") from error
    every = own.joined(
        Servers(routers=rules.routers, gateways=rules.gateways, bootstrap=rules.bootstrap)
    )
    discovery = replace(
        rules, routers=every.routers, gateways=every.gateways, bootstrap=every.bootstrap
    )
    return replace(policy, discovery=discovery)


def _parse_url(text: str) -> Url:
    try:
        return Url.parse(text)
    except BadUrl as error:
        raise InvalidRequest(f"{text!r:.300} is not a usable URL: {error}.") from error
