"""DHT servers of go-libp2p in one process, some of them with faults, for tests.

They use TCP, noise and yamux, on loopback if no other address is given. A fault shows towards
peers outside of the process alone (`tests/interop/kubo/swarm`). `make kubo` builds the program.
"""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from tests.support.required_programs import absent

SWARM: Final = Path(__file__).parents[2] / "build/tools/swarm"
LAN: Final = "/ipfs/lan"
"""Protocol prefix of the DHT that kubo uses on private networks and loopback."""
WAN: Final = "/ipfs"
"""Protocol prefix of the DHT that kubo uses on public networks."""
STOP_SECONDS: Final = 10


class Behaviour(StrEnum):
    """What a peer does towards peers outside of the swarm."""

    HONEST = "honest"
    LIES = "lies"
    """Answers with other records, with peers that do not exist, and with bytes of no message."""
    HANGS = "hangs"
    """Accepts a stream and never answers."""
    VANISHES = "vanishes"
    """Closes each connection after the handshake."""
    PLAINTEXT = "plaintext"
    """Is honest, and offers connections without encryption only."""
    RSA = "rsa"
    """Is honest, and has an RSA key."""


HOSTILE: Final[Mapping[Behaviour, float]] = {
    Behaviour.LIES: 0.3,
    Behaviour.HANGS: 0.2,
    Behaviour.VANISHES: 0.1,
}
"""The shares of faults with which a look-up must still succeed."""


@dataclass(frozen=True, slots=True)
class SwarmPeer:
    """A peer: its number, its peer id, and its multiaddrs, which end with ``/p2p/ID``."""

    number: int
    id: str
    behaviour: Behaviour
    addresses: tuple[str, ...]

    @property
    def address(self) -> str:
        """The first multiaddr."""
        return self.addresses[0]


class SwarmError(Exception):
    """The program refused a command; the text is its answer."""


@dataclass(frozen=True, slots=True)
class Swarm:
    """A running swarm."""

    process: subprocess.Popen[str]
    peers: tuple[SwarmPeer, ...]

    def of(self, *behaviours: Behaviour) -> list[SwarmPeer]:
        """Return the peers with these behaviours, in order of their numbers."""
        return [peer for peer in self.peers if peer.behaviour in behaviours]

    def put(self, name: str, record: bytes) -> list[SwarmPeer]:
        """Store an IPNS record by a put of the DHT, and return the peers that were asked to."""
        return self._numbered(self._command("put", name, _text(record))["holders"])

    def place(self, name: str, record: bytes, peers: Sequence[SwarmPeer]) -> None:
        """Store an IPNS record at these peers alone; each of them verifies it."""
        self._command("place", name, _text(record), *(str(peer.number) for peer in peers))

    def lie(self, name: str, *records: bytes) -> None:
        """Have the peers that lie answer with these records, instead of random bytes."""
        self._command("lie", name, *map(_text, records))

    def provide(self, cid: str) -> str:
        """Announce a provider of a CID, and return its peer id."""
        provider: str = self._command("provide", cid)["provider"]
        return provider

    def slow(self, milliseconds: int, peers: Sequence[SwarmPeer]) -> None:
        """Delay the first answer of these peers on each stream."""
        self._command("slow", str(milliseconds), *(str(peer.number) for peer in peers))

    def _numbered(self, numbers: Sequence[int]) -> list[SwarmPeer]:
        return [self.peers[number] for number in numbers]

    def _command(self, *words: str) -> dict[str, Any]:
        assert self.process.stdin is not None
        self.process.stdin.write(" ".join(words) + "\n")
        self.process.stdin.flush()
        answer = _line(self.process)
        if "error" in answer:
            raise SwarmError(answer["error"])
        return answer


def _text(record: bytes) -> str:
    return base64.b64encode(record).decode()


def _line(process: subprocess.Popen[str]) -> dict[str, Any]:
    assert process.stdout is not None
    text = process.stdout.readline()
    assert text, "the swarm has ended"
    answer: dict[str, Any] = json.loads(text)
    return answer


@contextmanager
def running_swarm(  # noqa: PLR0913 - the options of the program
    peers: int,
    *,
    shares: Mapping[Behaviour, float] | None = None,
    prefix: str = LAN,
    seed: int = 1,
    listen: Sequence[str] = ("/ip4/127.0.0.1/tcp/0",),
    command: Sequence[str] = (),
) -> Iterator[Swarm]:
    """Run a swarm until the end of the block.

    ``shares`` are the parts of all peers that have a fault, 0 to 1; the others are honest. Peer i
    listens at address i of ``listen``, modulo its length. The same ``seed`` gives the same
    behaviours and the same ed25519 keys. ``command`` is put before the program, to run it in
    another network namespace.
    """
    if not SWARM.is_file():
        absent("the swarm is not built: run `make kubo`")
    options = [f"-peers={peers}", f"-prefix={prefix}", f"-seed={seed}"]
    options += [f"-listen={address}" for address in listen]
    options += [f"-share={behaviour}={part}" for behaviour, part in (shares or {}).items()]
    with subprocess.Popen(
        [*command, str(SWARM), *options],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            found = _line(process)["peers"]
            yield Swarm(
                process,
                tuple(
                    SwarmPeer(at, each["id"], Behaviour(each["behaviour"]), (*each["addresses"],))
                    for at, each in enumerate(found)
                ),
            )
        finally:
            process.kill()
