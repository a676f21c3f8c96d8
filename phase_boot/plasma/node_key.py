"""The node key, and the agent process that signs receipts with it.

The key is loaded in a process of its own before the first job starts. A job's process is a fork of
the parent, which never has the key, so a module that breaks out of WebAssembly finds none in its
memory. The agent signs receipts only.
"""

from __future__ import annotations

import json
import resource
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from phase_boot.plasma.errors import PlasmaError
from phase_boot.publish.errors import PublishError
from phase_boot.publish.keys.keyfile import encode_key, read_keyfile
from phase_boot.publish.keys.private_file import read_private_file
from phase_boot.safefs.atomic import PRIVATE, create
from phase_boot.safefs.lock import Locked
from phase_boot.sandbox.process import Confinement, confine, keep_descriptors, spawn
from phase_boot.trust.keys import SIGNATURE_BYTES, SigningKey
from phase_boot.trust.receipt import CONTEXT
from phase_boot.trust.receipt import MAX_BYTES as MAX_RECEIPT

NODE_KEY: Final = Path("/var/lib/plasma/node.key")
_MAX_KEY: Final = 4096
_MAX_REPLY: Final = 4096
_LONGEST: Final = 500
_PATIENCE: Final = 30.0
"""Seconds for loading or creating the key: a hanging disk must not stop the boot."""
_LIMITS: Final = {
    resource.RLIMIT_CORE: (0, 0),
    resource.RLIMIT_FSIZE: (0, 0),
    resource.RLIMIT_NOFILE: (0, 0),
    resource.RLIMIT_NPROC: (0, 0),
}


@dataclass(frozen=True, slots=True)
class NodeKey:
    """The key, and a note for the operator that says how it was obtained."""

    key: SigningKey
    note: str


class SigningAgent:
    """Client of the agent process: signs receipts by a key that this process does not have."""

    def __init__(self, ours: socket.socket, keyid: str, note: str) -> None:
        """Send requests over ``ours``."""
        self._ours = ours
        self.keyid = keyid
        self.note = note

    def sign(self, message: bytes) -> bytes:
        """Return the signature over a receipt.

        Raises:
            PlasmaError: the agent has exited, or refuses the message.
        """
        try:
            self._ours.send(message)
            signature = self._ours.recv(SIGNATURE_BYTES)
        except OSError as error:
            raise PlasmaError(f"The signing agent is gone: {error}.") from error
        if len(signature) != SIGNATURE_BYTES:
            raise PlasmaError("The signing agent refuses this message: run the job again.")
        return signature


def ephemeral() -> NodeKey:
    """Return a key for this run only (Private mode)."""
    return NodeKey(SigningKey.generate(), "the node key is temporary, for this run only")


def load_or_create(path: Path) -> NodeKey:
    """Return the key in a file, which is created if missing.

    An empty or truncated file holds no key, so it is replaced and the note says so. Any other
    defect may be an attack and is refused: a key that other users can read may sign for two
    machines, and an exchanged one would sign for another machine.

    Raises:
        PublishError: other users can read or own it, it is not a key file, or it cannot be created.
    """
    if not path.exists():
        return NodeKey(_made(path), f"the node key {path} was created")
    raw = read_private_file("The node key", path, _MAX_KEY)
    if _torn(raw):
        path.unlink(missing_ok=True)
        return NodeKey(
            _made(path),
            f"the node key {path} was truncated, so this machine has a new one",
        )
    found = read_keyfile(path)
    if not isinstance(found.secret, SigningKey):
        raise PlasmaError(
            f"{path} has a passphrase, which no node key may have: name another file."
        )
    return NodeKey(found.secret, "")


@contextmanager
def signing_agent(source: Callable[[], NodeKey]) -> Iterator[SigningAgent]:
    """Run the agent of the key that ``source`` returns; start it before any job.

    Raises:
        PublishError: ``source`` raised it.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    agent = spawn(lambda: _serve(source, theirs))
    theirs.close()
    ours.settimeout(_PATIENCE)
    try:
        reply = _first_reply(ours)
        if "error" in reply:
            raise PlasmaError(reply["error"])
        yield SigningAgent(ours, reply["keyid"], reply["note"])
    finally:
        ours.close()
        agent.stop()


def _first_reply(ours: socket.socket) -> dict[str, str]:
    try:
        reply: dict[str, str] = json.loads(ours.recv(_MAX_REPLY) or b"{}")
    except OSError:
        reply = {}
    return reply or {"error": "The node key cannot be read: check its disk."}


def _torn(raw: bytes) -> bool:
    """Return whether a file is truncated: a key file is JSON from { to }."""
    return not raw.strip(b"\0 \n") or (
        raw.startswith(b"{") and not raw.rstrip(b"\0\n").endswith(b"}")
    )


def _made(path: Path) -> SigningKey:
    """Create the key file ``path``. Of two processes that do so at once, one fails."""
    key = SigningKey.generate()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            create(path, encode_key(key, None), PRIVATE)
        except (FileExistsError, Locked):
            raise PlasmaError(f"Another process is creating {path}: run it again.") from None
    except OSError as error:
        raise PlasmaError(f"The node key cannot be written to {path}: {error.strerror}.") from error
    return key


def _serve(source: Callable[[], NodeKey], theirs: socket.socket) -> None:
    """Load the key and sign with it until the asking process exits."""
    keep_descriptors((0, 1, 2, theirs.fileno()))
    try:
        # It is not traceable from the start, and has no files once the key is loaded.
        confine(Confinement(traceable=False))
        node = source()
        confine(Confinement(limits=_LIMITS, network=False, traceable=False))
    except PublishError as error:
        theirs.send(json.dumps({"error": str(error)[:_LONGEST]}).encode())
    else:
        theirs.send(json.dumps({"keyid": node.key.keyid, "note": node.note}).encode())
        with suppress(ConnectionError):
            _answer(theirs, node.key)


def _answer(theirs: socket.socket, key: SigningKey) -> None:
    while message := theirs.recv(MAX_RECEIPT + len(CONTEXT)):
        theirs.send(key.sign(message) if message.startswith(CONTEXT) else b"no")
