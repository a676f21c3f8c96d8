"""A kubo node (github.com/ipfs/kubo, an IPFS node) on loopback, which reaches no other machine.

It has no bootstrap peers, no delegated routers and no mDNS, and it fetches no configuration
(AutoConf), so it knows only the nodes that a test connects it with. `make kubo` builds the program.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Final
from urllib.parse import urlencode, urlsplit
from uuid import uuid4

from tests.support.required_programs import absent

IPFS: Final = Path(__file__).parents[2] / "build/tools/ipfs"
SECONDS: Final = 60
"""Bound of the start and of each request."""
STOP_SECONDS: Final = 10

_ALONE: Final[Mapping[str, object]] = {
    "Bootstrap": [],
    "AutoConf.Enabled": False,
    "AutoTLS.Enabled": False,
    "DNS.Resolvers": {},
    "Routing.Type": "dhtserver",
    "Routing.DelegatedRouters": [],
    "Routing.LoopbackAddressesOnLanDHT": True,
    "Ipns.DelegatedPublishers": [],
    "Internal.NonPublicAddrPublishing": True,
    "Discovery.MDNS.Enabled": False,
    "Swarm.DisableNatPortMap": True,
    "Swarm.RelayClient.Enabled": False,
    "Provide.DHT.SweepEnabled": False,
    "Version.SwarmCheckEnabled": False,
    "Gateway.ExposeRoutingAPI": True,
    # The kernel chooses the ports; the node writes those of the API and the gateway to files.
    "Addresses.Swarm": ["/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.1/udp/0/quic-v1"],
    "Addresses.API": "/ip4/127.0.0.1/tcp/0",
    "Addresses.Gateway": "/ip4/127.0.0.1/tcp/0",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP response; the names of its headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def kind(self) -> str:
        """The Content-Type."""
        return self.headers.get("content-type", "")


def ask(url: str, *, method: str = "GET", body: bytes | None = None, **headers: str) -> Answer:
    """Send one request, without a proxy, and return the response; redirects are not followed."""
    parts = urlsplit(url)
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    with closing(HTTPConnection(parts.netloc, timeout=SECONDS)) as connection:
        connection.request(method, url.removeprefix(f"http://{parts.netloc}"), body, fields)
        answer = connection.getresponse()
        received = {name.lower(): value for name, value in answer.getheaders()}
        return Answer(answer.status, received, answer.read())


class CommandFailed(Exception):
    """The node answered a command with an error, which is the text."""


@dataclass(frozen=True, slots=True)
class KuboNode:
    """A running node.

    Attributes:
        pid: its process.
        api_url: the base URL of its commands.
        gateway_url: the URL below which its gateway has ``/ipfs/`` and ``/ipns/``.
    """

    pid: int
    api_url: str
    gateway_url: str

    @property
    def routing_url(self) -> str:
        """The URL below which its delegated router has ``/routing/v1/``."""
        return self.gateway_url

    def api(self, path: str, *args: str, file: bytes | None = None, **options: str) -> bytes:
        """Run the command ``path`` ("dag/import") and return its output.

        Raises:
            CommandFailed: the node answered with an error.
        """
        named = [(name.replace("_", "-"), value) for name, value in options.items()]
        query = urlencode([*(("arg", value) for value in args), *named])
        body, headers = (None, {}) if file is None else _form(file)
        url = f"{self.api_url}/api/v0/{path}?{query}"
        answer = ask(url, method="POST", body=body, **headers)
        if answer.status != 200:
            raise CommandFailed(answer.body.decode(errors="replace"))
        # An error after the first byte is in a trailer, which http.client drops.
        expected = int(answer.headers.get("x-content-length", len(answer.body)))
        if len(answer.body) != expected:
            raise CommandFailed(f"{path} ended after {len(answer.body)} of {expected} bytes")
        return answer.body

    def import_car(self, car: bytes) -> list[str]:
        """Store the blocks of a CAR, pin its roots and return them.

        Raises:
            CommandFailed: a DAG is not complete, or the CAR is not valid.
        """
        lines = self.api("dag/import", file=car).splitlines()
        roots = [json.loads(line)["Root"] for line in lines]
        if errors := [root["PinErrorMsg"] for root in roots if root["PinErrorMsg"]]:
            raise CommandFailed("; ".join(errors))
        return [root["Cid"]["/"] for root in roots]

    def add(self, data: bytes) -> str:
        """Store a file in kubo's own layout and return its CID."""
        cid: str = json.loads(self.api("add", file=data, cid_version="1", quieter="true"))["Hash"]
        return cid

    def cat(self, cid: str) -> bytes:
        """Return a file that the node holds; raise CommandFailed if it is not complete there."""
        return self.api("cat", cid, offline="true")

    def clear(self) -> None:
        """Remove every block."""
        pins = json.loads(self.api("pin/ls", type="recursive")).get("Keys")
        if pins:
            self.api("pin/rm", *pins)
        self.api("repo/gc")

    @property
    def address(self) -> str:
        """Its TCP address, with its peer id."""
        addresses: list[str] = json.loads(self.api("id"))["Addresses"]
        return next(each for each in addresses if "/tcp/" in each)

    def connect(self, other: KuboNode) -> None:
        """Connect the node with another one, and wait until each is in the other's DHT table."""
        self.api("swarm/connect", other.address)
        deadline = time.monotonic() + SECONDS
        while not (self.dht_peers() and other.dht_peers()):
            assert time.monotonic() < deadline, "the nodes are not in each other's DHT table"
            time.sleep(0.05)

    def dht_peers(self) -> list[str]:
        """Return the peer ids in its table of the DHT on this network."""
        tables = map(json.loads, self.api("stats/dht", "lan").splitlines())
        buckets = [bucket for table in tables for bucket in table["Buckets"] or ()]
        return [peer["ID"] for bucket in buckets for peer in bucket["Peers"] or ()]

    def sockets(self) -> list[tuple[str, str]]:
        """Return the local and the remote address of each TCP and UDP socket of the process."""
        done = subprocess.run(["ss", "-Htuanp"], capture_output=True, text=True, check=True)
        mine = [line.split() for line in done.stdout.splitlines() if f"pid={self.pid}," in line]
        return [(words[4], words[5]) for words in mine]


@contextmanager
def kubo_node(
    repo: Path,
    *,
    offline: bool = False,
    settings: Mapping[str, object] | None = None,
    authority: Path | None = None,
    configure: Callable[[Path, Mapping[str, object]], None] | None = None,
) -> Iterator[KuboNode]:
    """Run a new node until the end of the block.

    Its files are in ``repo``, a folder that does not exist yet, and what it prints is in
    ``repo/daemon.log``. ``settings`` are further keys of its configuration ("Gateway.NoFetch").
    ``configure`` makes the files in another way than `configure_repo`.
    An offline node has no libp2p host at all. It trusts the certificate of an ``authority`` for
    HTTPS.
    """
    if not IPFS.is_file():
        absent("kubo is not built: run `make kubo`")
    (configure or configure_repo)(repo, settings or {})
    trusted = {} if authority is None else {"SSL_CERT_FILE": str(authority)}
    environment = {**environment_of(repo), **trusted}
    words = ["daemon", *(["--offline"] if offline else [])]
    with (repo / "daemon.log").open("wb") as log:
        process = subprocess.Popen([IPFS, *words], env=environment, stdout=log, stderr=log)
    try:
        yield _started(process, repo)
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def environment_of(repo: Path) -> dict[str, str]:
    """Return the environment of each command of the node whose files are in ``repo``."""
    return {
        "IPFS_PATH": str(repo),
        "HOME": str(repo),
        "IPFS_TELEMETRY": "off",
        "GOLOG_LOG_LEVEL": "error",
        "GOMAXPROCS": "2",
    }


def configure_repo(repo: Path, settings: Mapping[str, object]) -> None:
    """Make the files of a node that reaches no other machine, with further ``settings``."""
    words = ["init", "--profile=autoconf-off"]
    subprocess.run([IPFS, *words], env=environment_of(repo), check=True, capture_output=True)
    set_keys(repo, {**_ALONE, **settings})


def set_keys(repo: Path, settings: Mapping[str, object]) -> None:
    """Set keys of a configuration, whose sections are separated by dots."""
    file = repo / "config"
    whole = json.loads(file.read_text())
    for name, value in settings.items():
        *sections, key = name.split(".")
        place = whole
        for section in sections:
            inner = place.get(section) or {}
            place[section] = inner
            place = inner
        place[key] = value
    file.write_text(json.dumps(whole))


def _started(process: subprocess.Popen[bytes], repo: Path) -> KuboNode:
    """Wait until the node serves commands and its gateway."""
    deadline = time.monotonic() + SECONDS
    while b"Daemon is ready" not in (log := (repo / "daemon.log").read_bytes()):
        assert process.poll() is None, log.decode(errors="replace")
        assert time.monotonic() < deadline, log.decode(errors="replace")
        time.sleep(0.05)
    *_, host, _, port = (repo / "api").read_text().strip().split("/")
    gateway = (repo / "gateway").read_text().strip().rstrip("/")
    return KuboNode(process.pid, f"http://{host}:{port}", gateway)


def _form(file: bytes) -> tuple[bytes, dict[str, str]]:
    """Return a file as the body of a form, with the headers."""
    boundary = uuid4().hex
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="file"\r\n\r\n'
    body = head.encode() + file + f"\r\n--{boundary}--\r\n".encode()
    return body, {"Content-Type": f"multipart/form-data; boundary={boundary}"}
