"""The want-list of this machine: which block is requested from which peer. It performs no I/O.

A block is requested from one peer at a time. Where that one lacks it, sends nothing for
`SILENT_SECONDS`, or is gone, another peer is asked for it and the want is withdrawn from the first.
A peer gets few wants at first and more with each block that it sends, so that a silent one holds up
little.

A message of bitswap names no CIDs of its blocks: each is known by its hash. So a wrong block is one
that was not requested from its peer, which gets no more requests after it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from typing import Final

from phase_boot.content.cid import Cid
from phase_boot.libp2p_node.bitswap_message import MAX_WANTS, Received
from phase_boot.libp2p_node.bitswap_state import Link, Outcome, PeerState, Request, Update, Want

SILENT_SECONDS: Final = 2.0
"""Time without a block after which the wants of a peer are given to other peers."""
REST_SECONDS: Final = 10.0
"""Time in which a peer that was silent is asked only if no other one is left; it doubles."""
MAX_RESTS: Final = 5
MAX_WINDOW: Final = 64
"""Open wants of one peer."""
MAX_OPEN_BYTES: Final = 16 * 1024 * 1024
"""Largest sizes of all blocks together that are requested at once."""
MAX_QUEUE: Final = 4096
"""Blocks that callers wait for."""
MAX_ASKED: Final = 8192
"""Wants that are remembered of each peer."""
MAX_PEERS: Final = 12
"""Peers that are known at once."""
MAX_IDLE_MESSAGES: Final = 1024
"""Messages in a row without a requested block after which a peer counts as lying."""
REDIAL_SECONDS: Final = 5.0
"""Pause before a peer that was lost is connected with again."""


class WantList:
    """Open requests, and the peers that may serve them. Times are seconds of one clock."""

    def __init__(self) -> None:
        """Start without a request and without a peer."""
        self._wants: dict[Cid, Want] = {}
        self._waiting: OrderedDict[Cid, None] = OrderedDict()
        """Wants that are requested from no peer, in order."""
        self._of_key: dict[int, Cid] = {}
        self._peers: OrderedDict[str, PeerState] = OrderedDict()
        self._open_bytes = 0

    def __len__(self) -> int:
        """Return the number of blocks that are waited for."""
        return len(self._wants)

    @property
    def liars(self) -> tuple[str, ...]:
        """The peers that sent what was not requested."""
        return tuple(name for name, peer in self._peers.items() if peer.link is Link.LIED)

    def request(self, request: Request, now: float) -> tuple[str, ...]:
        """Add a request; return the peers that are to be connected with.

        Two requests for one block become one want, with the peers of both.

        Raises:
            ValueError: the key is in use, or too many requests are open.
        """
        key, cid = request.key, request.cid
        if key in self._of_key or len(self._of_key) >= MAX_QUEUE:
            raise ValueError(f"at most {MAX_QUEUE} requests, each with a key of its own")
        names = tuple(dict.fromkeys(request.peers))
        dial = tuple(name for name in names if self._must_dial(name, now))
        want = self._wants.get(cid)
        if want is None:
            want = Want(cid=cid, limit=request.limit, until=request.until)
            self._wants[cid] = want
            self._waiting[cid] = None
        want.keys.add(key)
        want.until = max(want.until, request.until)
        want.peers += [name for name in names if name in self._peers and name not in want.peers]
        self._of_key[key] = cid
        return dial

    def cancel(self, key: int) -> None:
        """Withdraw a request, if it is open."""
        cid = self._of_key.pop(key, None)
        if cid is None:
            return
        want = self._wants[cid]
        want.keys.discard(key)
        if not want.keys:
            self._withdraw(want)
            del self._wants[cid]
            self._waiting.pop(cid, None)

    def connected(self, name: str, now: float) -> None:
        """Record that a peer can be asked."""
        peer = self._peers.get(name)
        if peer is not None and peer.link is Link.DIALLING:
            peer.link, peer.heard_at = Link.UP, now

    def lost(self, name: str, reason: str, now: float) -> None:
        """Record that a peer cannot be reached, or left; its wants go to others."""
        peer = self._peers.get(name)
        if peer is not None and peer.usable:
            self._end(peer, Link.GONE, reason, now)

    def lied(self, name: str, reason: str, now: float) -> None:
        """Record that a peer sent what no honest one sends: it gets no more requests."""
        peer = self._peers.get(name)
        if peer is not None:
            self._end(peer, Link.LIED, reason, now)

    def receive(self, name: str, message: Received, now: float) -> list[Outcome]:
        """Take a message of a peer; return the requests that its blocks answer."""
        peer = self._peers.get(name)
        if peer is None or peer.link is Link.LIED:
            return []
        outcomes: list[Outcome] = []
        useful = False
        for cid in message.absent:
            if cid in peer.open:
                useful = True
                self._wants[cid].lacking.add(name)
                self._free(self._wants[cid], cancel=True)
        for codec, block in message.blocks:
            cid = Cid.of(codec, block)
            if cid not in peer.asked:
                self.lied(name, "it sent a block that was not requested", now)
                break
            if cid not in self._wants:
                continue
            useful = True
            peer.heard_at, peer.window = now, min(peer.window + 1, MAX_WINDOW)
            peer.silences, peer.rests_until = 0, 0.0
            outcomes += self._answer(cid, name, block)
        peer.idle_messages = 0 if useful else peer.idle_messages + 1
        if peer.idle_messages > MAX_IDLE_MESSAGES:
            self.lied(name, f"it sent {MAX_IDLE_MESSAGES} messages without a requested block", now)
        return outcomes

    def expire(self, now: float) -> list[Outcome]:
        """Give wants of silent peers to others; return the requests that failed."""
        for name, peer in self._peers.items():
            if peer.open and now >= peer.heard_at + SILENT_SECONDS:
                self._pass_on(name, peer, now)
        return [
            outcome
            for want in list(self._wants.values())
            if now >= want.until or not self._candidates(want)
            for outcome in self._fail(want, late=now >= want.until)
        ]

    def updates(self, now: float) -> Iterator[tuple[str, Update]]:
        """Ask peers for the blocks that wait; yield what each peer is to be told."""
        self._assign(now)
        for name, peer in self._peers.items():
            while peer.wanted or peer.cancelled:
                wanted = tuple(peer.wanted[: MAX_WANTS // 2])
                cancelled = tuple(peer.cancelled[: MAX_WANTS // 2])
                del peer.wanted[: len(wanted)], peer.cancelled[: len(cancelled)]
                yield name, Update(wanted, cancelled)

    def next_deadline(self) -> float | None:
        """Return when `expire` is due; None if nothing is waited for."""
        silent = (peer.heard_at + SILENT_SECONDS for peer in self._peers.values() if peer.open)
        return min((*silent, *(want.until for want in self._wants.values())), default=None)

    def _must_dial(self, name: str, now: float) -> bool:
        """Make a peer known; return whether it is to be connected with."""
        known = self._peers.get(name)
        if known is not None:
            if known.link is not Link.GONE or now < known.lost_at + REDIAL_SECONDS:
                return False
            self._peers[name] = PeerState(asked=known.asked)
            return True
        if len(self._peers) >= MAX_PEERS:
            gone = next(
                (name for name, peer in self._peers.items() if peer.link is Link.GONE), None
            )
            if gone is None:
                return False
            del self._peers[gone]
        self._peers[name] = PeerState()
        return True

    def _candidates(self, want: Want) -> list[str]:
        """Return the peers that may have a block: connected, or about to be."""
        return [
            name
            for name in want.peers
            if name not in want.lacking and name in self._peers and self._peers[name].usable
        ]

    def _assign(self, now: float) -> None:
        for cid in list(self._waiting):
            if all(peer.link is not Link.UP or peer.load >= 1 for peer in self._peers.values()):
                return
            want = self._wants[cid]
            if self._open_bytes and self._open_bytes + want.limit > MAX_OPEN_BYTES:
                return
            name = self._choose(want, now)
            if name is not None:
                self._ask(want, name, now)

    def _choose(self, want: Want, now: float) -> str | None:
        """Return the least busy peer for a want; one that was silent only if no other is left."""
        up = [name for name in self._candidates(want) if self._peers[name].link is Link.UP]
        lively = [name for name in up if now >= self._peers[name].rests_until] or up
        fresh = [name for name in lively if name not in want.tried]
        if not fresh:
            want.tried.clear()
        free = [name for name in fresh or lively if self._peers[name].load < 1]
        return min(free, key=lambda name: self._peers[name].load, default=None)

    def _ask(self, want: Want, name: str, now: float) -> None:
        peer, cid = self._peers[name], want.cid
        if not peer.open:
            peer.heard_at = now
        peer.open[cid] = None
        peer.asked[cid] = None
        peer.asked.move_to_end(cid)
        if len(peer.asked) > MAX_ASKED:
            peer.asked.popitem(last=False)
        if cid in peer.cancelled:
            # The peer was not told yet that the want was withdrawn.
            peer.cancelled.remove(cid)
        else:
            peer.wanted.append(cid)
        want.asked = name
        self._open_bytes += want.limit
        del self._waiting[cid]

    def _pass_on(self, name: str, peer: PeerState, now: float) -> None:
        """Give the wants of a silent peer to others; those that no other peer may have stay."""
        peer.heard_at, peer.window = now, 1
        peer.silences = min(peer.silences + 1, MAX_RESTS)
        peer.rests_until = now + REST_SECONDS * 2.0 ** (peer.silences - 1)
        for cid in list(peer.open):
            want = self._wants[cid]
            want.tried.add(name)
            if any(self._peers[other].link is Link.UP for other in self._others(want, name)):
                self._free(want, cancel=True)

    def _others(self, want: Want, name: str) -> Iterable[str]:
        return (other for other in self._candidates(want) if other != name)

    def _answer(self, cid: Cid, name: str, block: bytes) -> Iterator[Outcome]:
        """End the requests for a block, which may have been asked of another peer meanwhile."""
        want = self._wants.pop(cid, None)
        if want is None:
            return
        # A peer drops a want once it has sent the block; any other peer has to be told.
        self._free(want, cancel=want.asked != name)
        del self._waiting[cid]
        too_long = len(block) > want.limit
        for key in sorted(want.keys):
            del self._of_key[key]
            if too_long:
                yield Outcome(key, reason=f"the block has more than {want.limit} bytes")
            else:
                yield Outcome(key, block=block, peer=name)

    def _fail(self, want: Want, *, late: bool) -> Iterator[Outcome]:
        reason = self._reason(want, late=late)
        self._withdraw(want)
        del self._wants[want.cid]
        self._waiting.pop(want.cid, None)
        for key in sorted(want.keys):
            del self._of_key[key]
            yield Outcome(key, reason=reason)

    def _reason(self, want: Want, *, late: bool) -> str:
        if not want.peers:
            return "no peer is known that may have the block"
        lacking = len(want.lacking)
        gone = [self._peers[name].reason for name in want.peers if name in self._peers]
        parts = [
            f"{lacking} of {len(want.peers)} peers lack it" if lacking else "",
            "no other peer sent it in time" if late else "",
            *dict.fromkeys(filter(None, gone)),
        ]
        return "; ".join(filter(None, parts)) or "no peer is left"

    def _withdraw(self, want: Want) -> None:
        if want.asked:
            self._free(want, cancel=True)

    def _free(self, want: Want, *, cancel: bool) -> None:
        """Take a want from the peer that it is requested from, and let it wait."""
        peer = self._peers.get(want.asked)
        if peer is not None and peer.open.pop(want.cid, want) is None:
            self._open_bytes -= want.limit
            if want.cid in peer.wanted:
                peer.wanted.remove(want.cid)
            elif cancel:
                peer.cancelled.append(want.cid)
        want.asked = ""
        self._waiting[want.cid] = None
        self._waiting.move_to_end(want.cid, last=False)

    def _end(self, peer: PeerState, link: Link, reason: str, now: float) -> None:
        for cid in list(peer.open):
            self._free(self._wants[cid], cancel=False)
        peer.wanted.clear()
        peer.cancelled.clear()
        peer.link, peer.reason, peer.lost_at = link, reason, now
