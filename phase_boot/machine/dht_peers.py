"""DHT peers that answered in an earlier boot: where the next look-up may begin too.

Only public addresses are kept. The file is untrusted, and so is the process that named the peers:
neither may send a later boot to a service of its own network. The peers of a private swarm are in
the policy.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from phase_boot.content.multiaddr import Multiaddr
from phase_boot.ports.state_files import StateFiles
from phase_boot.store.errors import StoreError
from phase_boot.url import Scope, scope_of

FILE: Final = "dht-peers"
MAX_PEERS: Final = 16
MAX_BYTES: Final = 8192


def keep_dht_peers(state_files: StateFiles, peers: Iterable[str]) -> None:
    """Store the peers that are usable, if there is one; raise StoreError if the disk failed."""
    usable = usable_peers(peers)
    if usable:
        with state_files.exclusive():
            state_files.write(FILE, "\n".join(usable).encode())


def load_dht_peers(state_files: StateFiles) -> tuple[str, ...]:
    """Return the stored peers; none if the file cannot be read."""
    try:
        raw = state_files.read(FILE, limit=MAX_BYTES)
    except StoreError:
        return ()
    if raw is None or len(raw) > MAX_BYTES:
        return ()
    return usable_peers(raw.decode(errors="replace").split("\n"))


def usable_peers(peers: Iterable[str]) -> tuple[str, ...]:
    """Return up to `MAX_PEERS` peers with a public TCP address and an id, each once."""
    usable: dict[str, None] = {}
    for text in peers:
        try:
            address = Multiaddr.parse(text)
        except ValueError:
            continue
        public = address.tcp is not None and scope_of(address.tcp[0]) is Scope.PUBLIC
        if public and address.peer is not None and len(usable) < MAX_PEERS:
            usable[str(address)] = None
    return tuple(usable)
