"""Reading what a provider tells of others who fetch: bounded, and believed in nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from phase_boot.ports.finder import host_of
from phase_boot.store.stretches import from_text

MAX_PEERS: Final = 16
"""Of one answer; more are left unread."""
FIRST_PORT: Final = 1024
"""Below it are the services of a machine itself, where nobody sends us."""
LAST_PORT: Final = 65535
_PEER: Final = re.compile(r"http://([0-9.]{7,15}|\[[0-9a-f:.]{2,45}\]):([1-9][0-9]{3,4})")


@dataclass(frozen=True, slots=True)
class Told:
    """What we may take from the provider, and what others are said to hold."""

    yours: int
    peers: Mapping[str, int]


def read_roots(raw: bytes) -> Mapping[str, object]:
    """Return what is said of each artifact.

    Raises:
        ValueError: it makes no sense.
    """
    try:
        said = json.loads(raw)
    except RecursionError as error:
        raise ValueError("it is too deep") from error
    match said:
        case {"roots": dict(roots)}:
            return roots
    raise ValueError("it says nothing of artifacts")


def read_told(said: object, count: int, base: str) -> Told:
    """Return what the provider at ``base`` says of an artifact of ``count`` stretches.

    Peers at strange addresses are left out, and so is our own machine where the provider is none.

    Raises:
        ValueError: it makes no sense.
    """
    match said:
        case {"yours": yours, "peers": list(named)}:
            own = _is_own(host_of(base))
            peers = {}
            for each in named[:MAX_PEERS]:
                match each:
                    case {"url": str(url), "held": held} if _is_peer(url, own=own):
                        peers[url] = from_text(held, count)
            return Told(from_text(yours, count), peers)
    raise ValueError("it does not say who holds what")


def _is_peer(url: str, *, own: bool) -> bool:
    found = _PEER.fullmatch(url)
    if found is None or not FIRST_PORT <= int(found[2]) <= LAST_PORT:
        return False
    return own or not _is_own(found[1])


def _is_own(host: str) -> bool:
    """Say whether it is this machine under a name that every machine has for itself."""
    return host.startswith("127.") or host in {"localhost", "[::1]"} or "::ffff:" in host
