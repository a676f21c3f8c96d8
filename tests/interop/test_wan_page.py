"""The commands of docs/wan.md, as they are printed there."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from policies.read import read_policy
from policies.servers import NO_SERVERS, Servers
from tests.support.announcing_publisher import PHASE_BOOT, announcing_publisher
from tests.support.record_servers import RecordServer, record_server

pytestmark = pytest.mark.interop

PAGE: Final = Path(__file__).parents[2] / "docs" / "wan.md"
COMMANDS: Final = re.findall(r"^    (phase-boot .+)$", PAGE.read_text(), re.MULTILINE)
ROUTER: Final = "https://router.example"
KUBO: Final = "http://127.0.0.1:5001"


@pytest.fixture
def router() -> Iterator[RecordServer]:
    with record_server() as server:
        yield server


def run(folder: Path, line: str) -> None:
    """Run a command of the page in ``folder``; a server is stopped when it serves."""
    command, _, output = line.partition(" > ")
    _, *words = shlex.split(command)
    if words[0] == "serve":
        serve(folder, [*words, "--port", "0", "--json"])
        return
    done = subprocess.run(
        [PHASE_BOOT, *words], cwd=folder, capture_output=True, check=False, timeout=120, text=True
    )
    assert done.returncode == 0, (line, done.stdout, done.stderr)
    if output:
        (folder / output).write_text(done.stdout)


def serve(folder: Path, words: list[str]) -> None:
    # The network of the host is not told of the SITE.
    words += [] if "--no-announce" in words else ["--no-announce", "--host", "127.0.0.1"]
    with subprocess.Popen([PHASE_BOOT, *words], cwd=folder, stdout=subprocess.PIPE) as running:
        assert running.stdout is not None
        try:
            assert json.loads(running.stdout.readline())["event"] == "serve.started"
        finally:
            running.terminate()
    assert running.returncode == 0


def test_each_command_works_in_the_order_of_the_page(tmp_path: Path, router: RecordServer) -> None:
    publisher = announcing_publisher(tmp_path)
    (tmp_path / "announcer.key").unlink()
    policies = []
    for command in COMMANDS:
        if KUBO in command:
            # tests/interop/test_kubo_provide.py runs it: it takes a node of IPFS.
            continue
        run(tmp_path, command.replace(ROUTER, router.url))
        if " policy " in command:
            policies.append(read_policy(tmp_path / "policy.toml"))
    default, own, swarm = policies
    assert default.public != NO_SERVERS
    assert own.servers(announced=True) == Servers(routers=(router.url,))
    assert swarm.public == NO_SERVERS
    assert len(swarm.discovery.bootstrap) == len(swarm.discovery.gateways) == 1
    announced = [command for command in COMMANDS if ROUTER in command and " announce " in command]
    puts = [line for line in router.asked if line.startswith("PUT")]
    assert len(puts) == len(announced) >= 5
    assert router.records[publisher.record().name] == publisher.record().read_bytes()
