"""Two kubo nodes of the Internet that a lab's machines see, connected with each other only.

Their addresses are of the kind that the public DHT takes, unlike the addresses for documentation
(RFC 5737), which no libp2p node dials. They exist in the namespaces of the lab only.
"""

from __future__ import annotations

import base64
import hashlib
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from nacl.signing import SigningKey

from image.lab.network import Lab
from image.lab.wan import ADDRESS, WanNetwork
from phase_boot.content.peer_id import PeerId
from tests.support.kubo import IPFS, SECONDS, configure_repo, environment_of
from tests.support.required_programs import absent

HOLDER: Final = "45.77.0.10"
"""The address of the node that holds the blocks and puts the record."""
GATEWAY: Final = "45.77.0.11"
"""The address of the node that has a gateway, and gets everything from the other one."""
SWARM_PORT: Final = 4001
GATEWAY_PORT: Final = 8080
GATEWAY_URL: Final = f"http://{GATEWAY}:{GATEWAY_PORT}"
GATEWAY_ADDRESS: Final = f"/ip4/{GATEWAY}/tcp/{GATEWAY_PORT}/http"
_API_PORTS: Final[Mapping[str, int]] = {HOLDER: 5001, GATEWAY: 5002}
_ED25519: Final = bytes.fromhex("08011220")
_ED25519_PRIVATE: Final = bytes.fromhex("08011240")
"""What stands before a key of libp2p: its type and length."""


def multiaddr(address: str) -> str:
    """Return the TCP address of a node with its peer id, which a stick can name before it runs."""
    key = _ED25519 + bytes(_key(address).verify_key)
    return f"/ip4/{address}/tcp/{SWARM_PORT}/p2p/{PeerId(bytes([0, len(key)]) + key)}"


def _key(address: str) -> SigningKey:
    return SigningKey(hashlib.sha256(address.encode()).digest())


ENTRY: Final = multiaddr(GATEWAY)
"""The one peer of the DHT that `ipfs_stick` knows; it does not hold the record."""


@dataclass(frozen=True, slots=True)
class LabKubo:
    """A node in the network of a `WanNetwork`; its API is on the loopback of that namespace."""

    network: WanNetwork
    address: str
    repo: Path
    environment: Mapping[str, str]

    @property
    def api_url(self) -> str:
        """The base URL of its commands, for a program in the same namespace."""
        return f"http://127.0.0.1:{_API_PORTS[self.address]}"

    def ipfs(self, *words: str) -> str:
        """Run a command of the node and return its output."""
        variables = [f"{name}={value}" for name, value in self.environment.items()]
        return self.network.run(["env", *variables, str(IPFS), *words], timeout=SECONDS)


@contextmanager
def kubo_pair(
    lab: Lab, network: WanNetwork, folder: Path, *, gateways: bool = True
) -> Iterator[tuple[LabKubo, LabKubo]]:
    """Run the nodes `HOLDER` and `GATEWAY` until the end of the block.

    Without `gateways`, neither of them has an HTTP server that the lab's machines reach.
    """
    addresses = "".join(f"ip addr add {each}/24 dev far0;" for each in (HOLDER, GATEWAY))
    network.run(["sh", "-ec", addresses])
    lab.run(["ip", "route", "add", f"{HOLDER}/31", "via", ADDRESS])
    started = [
        _start(network, address, folder / address, gateway=gateways)
        for address in (HOLDER, GATEWAY)
    ]
    holder, gateway = [node for node, _ in started]
    try:
        for node, process in started:
            _wait(node, process)
        gateway.ipfs("swarm", "connect", multiaddr(HOLDER))
        yield holder, gateway
    finally:
        for _, process in started:
            process.terminate()
            process.wait(SECONDS)


def _start(
    network: WanNetwork, address: str, repo: Path, *, gateway: bool
) -> tuple[LabKubo, subprocess.Popen[bytes]]:
    key, peer = _key(address), multiaddr(address).rpartition("/")[2]
    private = _ED25519_PRIVATE + bytes(key) + bytes(key.verify_key)
    if not IPFS.is_file():
        absent("kubo is not built: run `make kubo`")
    configure_repo(
        repo,
        {
            "Identity.PeerID": peer,
            "Identity.PrivKey": base64.b64encode(private).decode(),
            "Addresses.Swarm": [f"/ip4/{address}/tcp/{SWARM_PORT}"],
            "Addresses.API": f"/ip4/127.0.0.1/tcp/{_API_PORTS[address]}",
            "Addresses.Gateway": [f"/ip4/{address}/tcp/{GATEWAY_PORT}"] if gateway else [],
            "Routing.LoopbackAddressesOnLanDHT": False,
            "Internal.NonPublicAddrPublishing": False,
            # The lab has no QUIC and no other transport that a machine would try.
            "Swarm.Transports.Network.QUIC": False,
            "Swarm.Transports.Network.Websocket": False,
        },
    )
    environment = environment_of(repo)
    with (repo / "daemon.log").open("wb") as log:
        process = network.popen([str(IPFS), "daemon"], stdout=log, stderr=log, env=environment)
    return LabKubo(network, address, repo, environment), process


def _wait(node: LabKubo, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + SECONDS
    while "Daemon is ready" not in (log := (node.repo / "daemon.log").read_text(errors="replace")):
        assert process.poll() is None, log
        assert time.monotonic() < deadline, log
        time.sleep(0.05)


def announce(node: LabKubo, site: Path, key: Path, *words: str) -> str:
    """Run `phase-boot announce` beside the node, import the SITE into it; return the output."""
    program = str(Path(sys.executable).with_name("phase-boot"))
    argv: Sequence[str] = ("announce", str(site), "--key", str(key), "--kubo", node.api_url)
    return node.network.run([program, *argv, "--import", *words], timeout=4 * SECONDS)
