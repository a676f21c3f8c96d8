"""A store filled over real HTTP from our own gateway."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from io import BytesIO
from pathlib import Path

import pytest

from phase_boot.content.artifact import Artifact
from phase_boot.content.chunker import DEFAULT_PARAMS, build_chunk_list
from phase_boot.content.dag_builder import build_dag
from phase_boot.content.digest import Digest
from phase_boot.download import ArtifactUnavailable
from phase_boot.drill.sample_manifest import INITRAMFS, KERNEL, document, signed
from phase_boot.journal.content_events import SourceFailed
from phase_boot.store.disk import Folder
from phase_boot.store.layout import dag_path, entry_path
from policies.model import Reach
from tests.support.gateways import GatewayDownload
from tests.support.provider import Running, make_site, running
from tests.support.real_mirror import ROOTFS, FetchEnvironment, mirror

MANIFEST = Path("stable/amd64/manifest.json")
ARTIFACT = Artifact("rootfs", Digest.of(ROOTFS), len(ROOTFS))
TREE = build_dag(build_chunk_list(BytesIO(ROOTFS), DEFAULT_PARAMS))


@pytest.fixture
def environment(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> FetchEnvironment:
    return FetchEnvironment(tmp_path, capsys)


def publisher(environment: FetchEnvironment, *, with_list: bool = False) -> Path:
    """Return a folder with what the SITE signed, and nothing of what was signed there."""
    folder = environment.folder / "publisher"
    (folder / MANIFEST).parent.mkdir(parents=True)
    shutil.copy(environment.site / MANIFEST, folder / MANIFEST)
    if with_list:
        shutil.copytree(environment.site / "dag", folder / "dag")
    return folder


def fetched(
    environment: FetchEnvironment, url: str, *gateways: str
) -> subprocess.CompletedProcess[str]:
    """Run the command with the named gateways."""
    words = [word for gateway in gateways for word in ("--gateway", gateway)]
    return subprocess.run(
        [*environment.words(url), *words], text=True, capture_output=True, check=False, timeout=120
    )


def url_of(provider: Running) -> str:
    return f"http://127.0.0.1:{provider.port}"


def asked(provider: Running) -> set[str]:
    return {request.path.split("/")[1] for request in provider.requests}


def statuses(provider: Running) -> set[int]:
    """Return the statuses of requests that were not cancelled."""
    return {request.status for request in provider.requests} - {0}


@pytest.mark.parametrize("with_list", [False, True], ids=["list by name", "list from a mirror"])
async def test_a_store_is_filled_from_a_gateway_alone(
    environment: FetchEnvironment, *, with_list: bool
) -> None:
    environment.publish()
    folder = publisher(environment, with_list=with_list)
    with mirror(folder) as one:
        async with running(environment.site) as provider:
            done = await asyncio.to_thread(fetched, environment, one.url, url_of(provider) + "/")
        assert done.returncode == 0, done.stderr
    environment.assert_filled()
    assert not environment.events("chunk_list.unavailable")
    assert {event["source"] for event in environment.events("fetch.done")} == {url_of(provider)}
    assert asked(provider) == {"ipfs"}
    # It has no files, and was asked for one once.
    assert statuses(provider) == {200, 406}
    # The next version takes the list from here.
    kept = {path.name.partition(".")[2] for path in (environment.store / "cas/dag").iterdir()}
    assert kept >= {path.stem for path in (environment.site / "dag").iterdir()}


async def test_a_gateway_and_a_mirror_are_used_together(environment: FetchEnvironment) -> None:
    environment.publish()
    with mirror(environment.site) as one:
        one.seconds = 0.05
        async with running(environment.site) as provider:
            done = await asyncio.to_thread(fetched, environment, one.url, url_of(provider))
        assert done.returncode == 0, done.stderr
    environment.assert_filled()
    gave = {e["source"] for e in environment.events("source.served") if e["artifact"] == "rootfs"}
    assert gave == {one.url, url_of(provider)}


async def test_a_gateway_with_wrong_blocks_is_banned_and_named(
    environment: FetchEnvironment,
) -> None:
    environment.publish()
    folder = publisher(environment, with_list=True)
    rotten = environment.folder / "rotten"
    shutil.copytree(environment.site, rotten)
    with mirror(folder) as one:
        async with running(environment.site) as good, running(rotten) as bad:
            for file in (rotten / "cas/sha256").iterdir():
                file.chmod(0o644)
                file.write_bytes(bytes(file.stat().st_size))
            named = (url_of(bad), url_of(good))
            done = await asyncio.to_thread(fetched, environment, one.url, *named)
        assert done.returncode == 0, done.stderr
    environment.assert_filled()
    failed = {event["source"] for event in environment.events("source.failed")}
    assert url_of(bad) in failed
    assert url_of(good) not in failed


@pytest.mark.parametrize(
    ("gateway", "reason"),
    [
        ("gate.example", "what stands before /ipfs"),
        ("http://gate.example/ipfs", "what stands before /ipfs"),
    ],
)
def test_an_invalid_gateway_url_is_refused_before_any_request(
    environment: FetchEnvironment, gateway: str, reason: str
) -> None:
    done = fetched(environment, "http://127.0.0.1:1", gateway)
    assert done.returncode == 2
    assert reason in done.stderr
    assert not environment.store.exists()


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """Return a SITE whose root filesystem is in chunks."""
    made = make_site(tmp_path / "made")
    files = {"kernel": KERNEL, "initramfs": INITRAMFS, "rootfs": ROOTFS}
    (made / entry_path(ARTIFACT.digest)).write_bytes(ROOTFS)
    (made / "dag").mkdir()
    (made / dag_path(TREE.root)).write_bytes(b"".join(TREE.car()))
    named = document(
        artifacts={name: str(Digest.of(data)) for name, data in files.items()},
        sizes={name: len(data) for name, data in files.items()},
        dags={"rootfs": str(TREE.root)},
    )
    (made / MANIFEST).write_bytes(signed(named))
    return made


@pytest.mark.parametrize("reach", list(Reach))
async def test_a_gateway_on_this_network_is_used_at_any_reach(site: Path, reach: Reach) -> None:
    async with running(site) as provider:
        download = GatewayDownload(url_of(provider), reach=reach)
        assert await download.fetch(ARTIFACT, TREE.root) == ROOTFS
    assert asked(provider) == {"ipfs"}
    # It has no files, and was asked for one once.
    assert statuses(provider) == {200, 406}


def reasons_of(download: GatewayDownload) -> list[str]:
    """Return why the list of chunks, and then the whole file, was not sent."""
    failed = [event.reason for event in download.events if isinstance(event, SourceFailed)]
    assert len(failed) == 2
    return failed


async def test_with_the_reach_of_the_lan_no_gateway_beyond_it_is_used(site: Path) -> None:
    async with running(site) as provider:
        download = GatewayDownload(url_of(provider), reach=Reach.LAN, near=False)
        with pytest.raises(ArtifactUnavailable):
            await download.fetch(ARTIFACT, TREE.root)
        assert not provider.events
    assert all("asks nobody beyond this network" in reason for reason in reasons_of(download))
    assert not download.disk.items(Folder.ENTRIES)


async def test_with_the_reach_of_the_lan_no_gateway_is_looked_up_by_name() -> None:
    download = GatewayDownload("https://localhost", reach=Reach.LAN, near=False)
    with pytest.raises(ArtifactUnavailable):
        await download.fetch(ARTIFACT, TREE.root)
    assert all("localhost is not an address in it" in reason for reason in reasons_of(download))
