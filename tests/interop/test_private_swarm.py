"""A company's private swarm, configured by the files of docs/private-swarm.

Only addresses differ from these files: all nodes of the test are on loopback.
"""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from phase_boot.trust.ipns_name import IpnsName
from phase_boot.trust.ipns_record import verify_record
from tests.support.announcing_publisher import (
    FILES,
    PHASE_BOOT,
    Publisher,
    announcing_publisher,
    dry_run,
    of,
)
from tests.support.kubo import IPFS, CommandFailed, KuboNode, environment_of, kubo_node, set_keys
from tests.support.libp2p_process import libp2p_process
from tests.support.required_programs import needed
from tests.support.web_servers import free_ports, wait_for

pytestmark = pytest.mark.interop

DOCS = Path(__file__).parents[2] / "docs/private-swarm"
NODE, GATEWAY = "node.json", "gateway.json"
LOOPBACK = {
    "Addresses.Swarm": ["/ip4/127.0.0.1/tcp/0"],
    "Addresses.API": "/ip4/127.0.0.1/tcp/0",
    "Addresses.Gateway": "/ip4/127.0.0.1/tcp/0",
    "Internal.NonPublicAddrPublishing": True,
    "Routing.LoopbackAddressesOnLanDHT": True,
}


@dataclass(frozen=True)
class Company:
    """The folder of a swarm, and its key if it is closed."""

    folder: Path
    key: Path | None = None

    @contextmanager
    def node(self, name: str, *files: str, bootstrap: str | None = None) -> Iterator[KuboNode]:
        """Run a node that is configured as the page says."""

        def configure(repo: Path, settings: Mapping[str, object]) -> None:
            environment = {**environment_of(repo), "IPFS": str(IPFS), "PATH": os.environ["PATH"]}
            commands = [
                [str(DOCS / "configure.sh"), *(str(DOCS / file) for file in files)],
                *([[str(IPFS), "bootstrap", "add", bootstrap]] if bootstrap else []),
            ]
            for command in commands:
                subprocess.run(command, env=environment, check=True, capture_output=True)
            if self.key is not None:
                shutil.copy(self.key, repo / "swarm.key")
            set_keys(repo, settings)

        with kubo_node(self.folder / name, settings=LOOPBACK, configure=configure) as node:
            yield node


def new_key(folder: Path, name: str = "swarm.key") -> Path:
    file = folder / name
    subprocess.run([str(DOCS / "new-swarm-key.sh"), str(file)], check=True)
    return file


@pytest.fixture(scope="module", autouse=True)
def programs() -> None:
    needed("jq", "jq")


@pytest.fixture
def publisher(tmp_path: Path) -> Publisher:
    return announcing_publisher(tmp_path)


@pytest.fixture
def closed(tmp_path: Path) -> Company:
    return Company(tmp_path, new_key(tmp_path))


@contextmanager
def serving(site: Path, folder: Path) -> Iterator[str]:
    """Run the provider beside the publisher's node, and return its URL."""
    port, _ = free_ports()
    words = ["serve", str(site), "--host", "127.0.0.1", "--no-announce", "--port", str(port)]
    log = folder / "serve.log"
    with log.open("wb") as out, subprocess.Popen([PHASE_BOOT, *words], stdout=out) as running:
        try:
            wait_for(port, running, log)
            yield f"http://127.0.0.1:{port}"
        finally:
            running.terminate()


def policy(publisher: Publisher, *words: str) -> Path:
    """Write the policy of a stick; the host's own network is not searched."""
    path = publisher.policy(*words)
    path.write_text(path.read_text().replace('["lan", "wan", "url"]', '["wan"]'))
    return path


@pytest.mark.parametrize("router", ["gateway", "provider"])
def test_a_stick_boots_from_a_closed_swarm(
    closed: Company, publisher: Publisher, router: str, tmp_path: Path
) -> None:
    with (
        closed.node("publisher", NODE) as holder,
        closed.node("gateway", NODE, GATEWAY, bootstrap=holder.address) as gateway,
    ):
        publisher.announce("--kubo", holder.api_url, "--import")
        with serving(publisher.site, tmp_path) as provider:
            url = {"gateway": gateway.routing_url, "provider": provider}[router]
            status, events = dry_run(
                policy(publisher, "--router", url, "--gateway", gateway.gateway_url)
            )
    assert status == 0, events
    assert len(of(events, "record.accepted")) == 1
    assert {event["source"] for event in of(events, "fetch.done")} == {gateway.gateway_url}
    assert publisher.stored() == set(FILES.values())


def test_a_node_without_the_key_cannot_connect(closed: Company, tmp_path: Path) -> None:
    strangers = {
        "without": Company(tmp_path),
        "other": Company(tmp_path, new_key(tmp_path, "other.key")),
    }
    with closed.node("member", NODE) as member:
        for name, company in strangers.items():
            with company.node(name, NODE) as stranger:
                with pytest.raises(CommandFailed):
                    stranger.api("swarm/connect", member.address)
                assert stranger.api("swarm/peers") == member.api("swarm/peers")


def test_a_key_in_use_is_not_overwritten(tmp_path: Path) -> None:
    key = new_key(tmp_path)
    before = key.read_bytes()
    words = [str(DOCS / "new-swarm-key.sh"), str(key)]
    done = subprocess.run(words, check=False, capture_output=True)
    assert done.returncode == 1
    assert key.read_bytes() == before
    assert key.stat().st_mode & 0o777 == 0o600


def test_a_node_reaches_nothing_outside_of_the_swarm(closed: Company) -> None:
    with closed.node("node", NODE, GATEWAY) as node:
        assert node.api("swarm/peers") == b'{"Peers":null}\n'
        assert node.api("bootstrap/list") == b'{"Peers":[]}\n'
        remote = {theirs for _, theirs in node.sockets() if not theirs.startswith("0.0.0.0:*")}
    assert {address.rpartition(":")[0] for address in remote} <= {"127.0.0.1", "[::]", "*"}


def test_a_stick_finds_the_record_in_the_dht_of_an_open_swarm(
    publisher: Publisher, tmp_path: Path
) -> None:
    company = Company(tmp_path)
    with (
        company.node("publisher", NODE) as holder,
        company.node("gateway", NODE, GATEWAY, bootstrap=holder.address) as gateway,
        libp2p_process() as process,
    ):
        publisher.announce("--kubo", holder.api_url, "--import")
        name = publisher.record().name
        answers = process.ask(op="record", name=name, bootstrap=[gateway.address], seconds=10)
    records = {base64.b64decode(each["record"]) for each in answers if "record" in each}
    assert records == {publisher.record().read_bytes()}
    (raw,) = records
    assert verify_record(raw, IpnsName.parse(name), datetime.now(UTC)).raw == raw
