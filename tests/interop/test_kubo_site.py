"""A SITE in the MFS of a kubo node boots from the gateway of another node, as it is shipped."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from phase_boot.content.digest import Digest
from tests.results import ROOT
from tests.support.announcing_publisher import (
    FILES,
    PHASE_BOOT,
    Publisher,
    announcing_publisher,
    dry_run,
    of,
)
from tests.support.kubo import IPFS, KuboNode, kubo_node

pytestmark = pytest.mark.interop

SHELL = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PAGE = ROOT / "docs/announcing.md"
MANIFEST = "stable/amd64/manifest.json"


@pytest.fixture
def publisher(tmp_path: Path) -> Publisher:
    return announcing_publisher(tmp_path)


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[tuple[KuboNode, KuboNode]]:
    with kubo_node(tmp_path / "holder") as holder, kubo_node(tmp_path / "gateway") as gateway:
        holder.connect(gateway)
        yield holder, gateway


def put_into_mfs(holder: KuboNode, publisher: Publisher) -> str:
    """Run the commands of the page and return the name of the folder."""
    (script,) = SHELL.findall(PAGE.read_text())
    name: str = json.loads(holder.api("key/gen", "site"))["Id"]
    (publisher.folder / "bin").mkdir(exist_ok=True)
    (publisher.folder / "bin" / "ipfs").symlink_to(IPFS)
    path = f"{publisher.folder / 'bin'}:{os.environ['PATH']}"
    subprocess.run(
        ["sh", "-eu", "-c", script],
        cwd=publisher.folder,
        env={"PATH": path, "IPFS_PATH": str(publisher.folder / "holder")},
        check=True,
        timeout=120,
    )
    return name


@pytest.mark.parametrize("by", ["the gateway's URL", "ipns:"])
def test_a_site_in_mfs_is_fetched_by_its_name_from_another_nodes_gateway(
    publisher: Publisher, nodes: tuple[KuboNode, KuboNode], by: str
) -> None:
    holder, gateway = nodes
    publisher.announce("--kubo", holder.api_url, "--import")
    name = put_into_mfs(holder, publisher)
    words = [f"{gateway.gateway_url}/ipns/{name}/{MANIFEST}"]
    if by == "ipns:":
        words = [f"ipns://{name}/{MANIFEST}", "--gateway", gateway.gateway_url]
    root = str(publisher.site / "root" / "1.json")
    done = subprocess.run(
        [PHASE_BOOT, "fetch", *words, "--store", str(publisher.store), "--root", root],
        capture_output=True,
        check=False,
        timeout=120,
        text=True,
    )
    assert done.returncode == 0, (done.stdout, done.stderr)
    assert publisher.stored() == set(FILES.values())
    held = {Digest.of(data).hex for data in FILES.values()}
    assert {path.name for path in (publisher.store / "cas" / "sha256").iterdir()} == held


def test_a_machine_boots_a_site_in_mfs_from_a_gateway_of_its_policy(
    publisher: Publisher, nodes: tuple[KuboNode, KuboNode]
) -> None:
    holder, gateway = nodes
    publisher.announce("--kubo", holder.api_url, "--import")
    name = put_into_mfs(holder, publisher)
    base = gateway.gateway_url
    policy = publisher.policy("--url", f"{base}/ipns/{name}/{MANIFEST}")
    # The host's own network is not searched.
    policy.write_text(policy.read_text().replace('["lan", "wan", "url"]', '["url"]'))
    status, events = dry_run(policy)
    assert status == 0, events
    (verified,) = of(events, "manifest.verified")
    assert verified["url"].startswith(f"{base}/ipns/{name}/")
    assert publisher.stored() == set(FILES.values())
