"""The policy of a boot: immutable, complete, and refused as a whole if any part is unknown."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum, auto
from types import MappingProxyType
from typing import Any, Final, TypeVar

from phase_boot.content.version import Version
from phase_boot.trust.refusals import Refusal
from phase_boot.trust.root import Root, load_trusted
from phase_boot.trust.signatures import Trust
from policies.bootstrap import bootstrap_from
from policies.servers import NO_SERVERS, Servers, gateways_from, routers_from, texts, urls_from

FINDERS: Final = ("lan", "wan", "url", "cache")
"""The names of the finders that a policy may list in `discovery.order`."""
CHANNEL: Final = re.compile(r"[a-z0-9-]{1,32}")
DEFAULT_REDIRECTS: Final = 5
"""Redirects that a request follows if the policy sets no number."""
MAX_REDIRECTS: Final = 20
MAX_DHT_DELAY: Final = 60
"""Seconds that a policy may let the DHT wait."""
T = TypeVar("T")


class PolicyError(Exception):
    """A policy is refused; the text names the key and the fault."""


class Mode(StrEnum):
    """The modes, one for each entry of the boot menu."""

    INTERNET = auto()
    LOCAL = auto()
    PRIVATE = auto()


class Reach(StrEnum):
    """How far away a server may be."""

    LAN = auto()
    """Only the networks of this machine's own addresses; no name is resolved by DNS."""
    INTERNET = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Discovery:
    """Where to look for a manifest, and how long.

    Attributes:
        order: the finders, in order of preference, out of `lan`, `wan`, `url`, `cache`.
        window: seconds of a search.
        urls: configured manifest URLs.
        candidates: candidates that one boot tries before the Seed Shell.
        routers: base URLs of delegated routers, which are asked for the publisher's IPNS record.
        gateways: base URLs of trustless IPFS gateways, for artifacts that a manifest names by CID,
            and for the record.
        bootstrap: multiaddrs of peers of a Kademlia DHT, each with its id, where a look-up of the
            record begins.
        dht_delay: seconds of a search before the DHT is asked; None leaves it to the search.
    """

    order: tuple[str, ...]
    window: int
    urls: tuple[str, ...]
    candidates: int
    routers: tuple[str, ...]
    gateways: tuple[str, ...]
    bootstrap: tuple[str, ...]
    dht_delay: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """Waiting for the network, and HTTP redirects.

    Attributes:
        wait_seconds: longest wait for a link with an address.
        redirects: HTTP redirects that one request follows, at most.
    """

    wait_seconds: int
    reach: Reach
    redirects: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Limits, each with its unit in its name.

    Attributes:
        attempts: requests to one source for one artifact; `phase-boot fetch` counts documents too.
        cache_mib: size of the store on Cache in MiB, at most.
        slowest_kib_per_second: a source that sends less is left.
    """

    attempts: int
    cache_mib: int
    slowest_kib_per_second: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Shell:
    """What the Seed Shell offers and does.

    Attributes:
        root: offer a root shell, from which anything can be booted.
        unattended: retry automatically after a pause, until a key is pressed.
    """

    root: bool
    unattended: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The policy of one mode (seed section 4, SPEC "Policy")."""

    mode: Mode
    channel: str
    cache_enabled: bool
    min_version: Version
    trust: Trust | Root
    """The image's root of trust, or a fixed set of keys."""
    discovery: Discovery
    network: Network
    limits: Limits
    shell: Shell
    public: Servers = NO_SERVERS
    """Public servers, which Internet mode asks only if the root names an announcing key."""

    def servers(self, *, announced: bool) -> Servers:
        """Return the routers, gateways and peers of a DHT that this boot may ask.

        ``announced`` is whether the newest root names an announcing key.
        """
        rules = self.discovery
        own = Servers(routers=rules.routers, gateways=rules.gateways, bootstrap=rules.bootstrap)
        return own.joined(self.public) if announced else own


def _no_files(name: str) -> bytes:
    raise ValueError(f"{name!r} cannot be read here")


def policy_from(table: Mapping[str, Any], *, read: Callable[[str], bytes] = _no_files) -> Policy:
    """Return the policy in ``table``, if every key is known and valid.

    ``read`` returns the file that `trust.root` names, or raises ValueError.

    Raises:
        PolicyError: a key is missing, unknown, of the wrong type or out of range;
            an empty list of keys is an error, never "trust all".
    """
    top = _Table(table, "")
    top.take("allow_tor", bool, _tor)
    policy = Policy(
        mode=top.take("mode", str, _mode),
        channel=top.take("channel", str, _channel),
        cache_enabled=top.take("cache_enabled", bool, _same),
        min_version=top.take("min_version", str, Version.parse),
        trust=_trust(top.table("trust"), read),
        discovery=_discovery(top.table("discovery")),
        network=_network(top.table("network")),
        limits=_limits(top.table("limits")),
        shell=_shell(top.table("shell")),
        public=_public(top.table("public")) if top.has("public") else NO_SERVERS,
    )
    top.finish()
    _check_mode(policy)
    return policy


def _check_mode(policy: Policy) -> None:
    """Refuse a policy that contradicts the promises of its mode."""
    if policy.mode is Mode.PRIVATE and policy.cache_enabled:
        raise PolicyError("cache_enabled: Private mode never writes the cache; set it to false")
    if policy.mode is Mode.LOCAL and policy.network.reach is not Reach.LAN:
        raise PolicyError('network.reach: Local mode never leaves the LAN; set it to "lan"')
    if policy.mode is Mode.LOCAL and "wan" in policy.discovery.order:
        raise PolicyError('discovery.order: Local mode never leaves the LAN; remove "wan"')
    if policy.mode is not Mode.INTERNET and policy.public != NO_SERVERS:
        raise PolicyError("public: only Internet mode asks public servers; remove the table")
    if "cache" in policy.discovery.order and not policy.cache_enabled:
        raise PolicyError('discovery.order: there is no Cache to look at; remove "cache"')


def _trust(table: _Table, read: Callable[[str], bytes]) -> Trust | Root:
    if table.has("root"):
        try:
            root = load_trusted(read(table.take("root", str, _same)))
        except (Refusal, ValueError) as error:
            raise PolicyError(f"trust.root: {error}") from error
        table.finish()
        return root
    keys = table.take("keys", list, texts)
    threshold = table.take("threshold", int, _at_least(1))
    table.finish()
    if len(set(keys)) != len(keys):
        raise PolicyError("trust.keys: a key stands there twice; name each key once")
    try:
        return Trust(keys=frozenset(keys), threshold=threshold)
    except ValueError as error:
        raise PolicyError(f"trust: {error}") from error


def _discovery(table: _Table) -> Discovery:
    found = Discovery(
        order=table.take("order", list, _order),
        window=table.take("window_seconds", int, _at_least(1)),
        urls=table.take("urls", list, urls_from),
        candidates=table.take("candidates", int, _at_least(1)),
        routers=table.take("routers", list, routers_from),
        gateways=table.take("gateways", list, gateways_from),
        bootstrap=table.take("bootstrap", list, bootstrap_from),
        dht_delay=(
            table.take("dht_delay_seconds", float, _dht_delay)
            if table.has("dht_delay_seconds")
            else None
        ),
    )
    table.finish()
    return found


def _public(table: _Table) -> Servers:
    found = Servers(
        routers=table.take("routers", list, routers_from),
        gateways=table.take("gateways", list, gateways_from),
        bootstrap=table.take("bootstrap", list, bootstrap_from),
    )
    table.finish()
    return found


def _network(table: _Table) -> Network:
    network = Network(
        wait_seconds=table.take("wait_seconds", int, _at_least(1)),
        reach=table.take("reach", str, _reach),
        redirects=(
            table.take("redirects", int, _redirects)
            if table.has("redirects")
            else DEFAULT_REDIRECTS
        ),
    )
    table.finish()
    return network


def _limits(table: _Table) -> Limits:
    names = ("attempts", "cache_mib", "slowest_kib_per_second")
    numbers = {name: table.take(name, int, _at_least(1)) for name in names}
    table.finish()
    return Limits(**numbers)


def _shell(table: _Table) -> Shell:
    shell = Shell(
        root=table.take("root", bool, _same),
        unattended=table.take("unattended", bool, _same),
    )
    table.finish()
    return shell


class _Table:
    """A TOML table while it is read: keys that were not taken at the end are unknown."""

    def __init__(self, entries: Mapping[str, Any], path: str) -> None:
        self._left = dict(entries)
        self._path = path

    def take(self, key: str, kind: type, parse: Callable[[Any], T]) -> T:
        name = self._path + key
        if key not in self._left:
            raise PolicyError(f"{name}: missing; every policy names it")
        value = self._left.pop(key)
        # bool is a subclass of int in Python, but `threshold = true` is not a number in TOML.
        kinds = (int, float) if kind is float else kind
        if not isinstance(value, kinds) or (kinds is not bool and isinstance(value, bool)):
            raise PolicyError(f"{name}: {value!r} is not {_KINDS[kind]}")
        try:
            return parse(value)
        except ValueError as error:
            raise PolicyError(f"{name}: {error}") from error

    def has(self, key: str) -> bool:
        return key in self._left

    def table(self, key: str) -> _Table:
        return self.take(key, dict, lambda entries: _Table(entries, f"{self._path}{key}."))

    def finish(self) -> None:
        if self._left:
            unknown = self._path + min(self._left)
            raise PolicyError(f"{unknown}: unknown; remove it or correct its spelling")


_KINDS: Final[Mapping[type, str]] = MappingProxyType(
    {
        str: "a string",
        bool: "true or false",
        int: "a whole number",
        float: "a number",
        list: "an array",
        dict: "a table",
    }
)


def _same(value: T) -> T:
    return value


def _tor(allowed: bool) -> bool:  # noqa: FBT001 - the value of one key
    if allowed:
        raise ValueError("Phase Boot does not use Tor yet; set it to false")
    return allowed


def _mode(text: str) -> Mode:
    try:
        return Mode(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is no mode; use {', '.join(Mode)}") from error


def _reach(text: str) -> Reach:
    try:
        return Reach(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is no reach; use {', '.join(Reach)}") from error


def _channel(text: str) -> str:
    if not CHANNEL.fullmatch(text):
        raise ValueError(f"{text!r} is no channel; use 1 to 32 of a-z, 0-9 and -")
    return text


def _redirects(number: int) -> int:
    if not 0 <= number <= MAX_REDIRECTS:
        raise ValueError(f"{number} is not from 0 to {MAX_REDIRECTS}")
    return number


def _dht_delay(seconds: float) -> float:
    if not 0 <= seconds <= MAX_DHT_DELAY:
        raise ValueError(f"it is not from 0 to {MAX_DHT_DELAY}")
    return float(seconds)


def _order(values: list[Any]) -> tuple[str, ...]:
    order = texts(values)
    unknown = [kind for kind in order if kind not in FINDERS]
    if unknown or not order or len(set(order)) != len(order):
        raise ValueError(f"use each of {', '.join(FINDERS)} at most once, and at least one")
    return order


def _at_least(least: int) -> Callable[[int], int]:
    def parse(number: int) -> int:
        if number < least:
            raise ValueError(f"{number} is below {least}")
        return number

    return parse
