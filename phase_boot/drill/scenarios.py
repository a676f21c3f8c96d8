"""The scenarios that faults are injected into; together they call every member of every port."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from functools import cache
from types import MappingProxyType
from typing import Final

from phase_boot.content.dag_builder import build_dag
from phase_boot.content.digest import Digest
from phase_boot.drill.fake_peers import FakeTracker
from phase_boot.drill.fake_privacy import BURNED_IN, GOOD, KEPT, SOUND
from phase_boot.drill.fake_servers import (
    FakeFetcher,
    FakeServer,
    chunked,
    dags_of_all,
    gateway_with_chunks,
    good_server,
    server_with_chunks,
)
from phase_boot.drill.fakes import policy_table
from phase_boot.drill.memory_disk import MemoryDisk
from phase_boot.drill.sample_kernel import bzimage
from phase_boot.drill.sample_manifest import (
    INITRAMFS,
    KERNEL,
    NOW,
    ROOTFS,
    UNTRUSTED_KEY,
    document,
    signed,
)
from phase_boot.drill.sample_record import ANNOUNCER, announcement, record
from phase_boot.drill.sample_root import NEW_PUBLISHER, ROOT_1, ROOT_2, ROOT_WITH_ANNOUNCER
from phase_boot.drill.scenario import Scenario
from phase_boot.ports.block_exchange import BlockPeer
from phase_boot.ports.network import Setup
from phase_boot.ports.operator import Answer, MenuAction
from phase_boot.store.disk import Folder
from phase_boot.store.layout import dag_path, entry_path
from phase_boot.trust.ipns_name import IpnsName
from phase_boot.url import Scope

PEER: Final = "http://10.0.0.9:7000"
RECORD_PATH: Final = f"routing/v1/ipns/{IpnsName(ANNOUNCER.keyid)}"
PROVIDER: Final = "/ip4/192.0.2.7/tcp/4001/p2p/12D3KooWAHoEkEqnKzM5PXFygh2movVBCSX3k8tDsT2cneU68Gyt"
BOOTSTRAP: Final = "/ip4/10.0.0.8/tcp/4001/p2p/12D3KooWN23oVDV3Bm7JjRyG2fq5VQBwMxqGEcm7QyWwSRNpXYdv"
OLD: Final = b"an artifact of an older version " * 100
OLDER_KERNEL: Final = bzimage(b"kernel of an older version")
UNSIGNED_KERNEL: Final = bzimage(b"an unsigned kernel")
_FILES: Final = {"kernel": UNSIGNED_KERNEL, "initramfs": INITRAMFS, "rootfs": ROOTFS}


def internet() -> Scenario:
    """A new root and version are published; a mirror attacks; Cache is full and partly corrupt."""
    attacker = good_server()
    digests = {name: str(Digest.of(data)) for name, data in _FILES.items()}
    sizes = {name: len(data) for name, data in _FILES.items()}
    attacker.files["stable/amd64/manifest.json"] = signed(
        document(artifacts=digests, sizes=sizes, mirrors=["http://attacker"]), UNTRUSTED_KEY
    )
    attacker.files |= {f"cas/sha256/{Digest.of(data).hex}": data for data in _FILES.values()}
    scenario = _scenario("internet", attacker=attacker, peer=_rotated())
    scenario.platform.trusting(ROOT_1)
    disk = MemoryDisk(capacity=len(ROOTFS) + len(OLD) + 100)
    disk.add_file(Folder.ENTRIES, Digest.of(OLD).hex, OLD)
    disk.add_file(Folder.ENTRIES, Digest.of(KERNEL).hex, bytes(len(KERNEL)))
    disk.add_file(Folder.ENTRIES, Digest.of(b"x").hex, bytes(90))
    scenario.cache.cache = disk
    return scenario


def peer_sharing() -> Scenario:
    """Chunks come from three sources, one of them a peer, and from an older local version.

    Another artifact and its chunk list are only at a gateway.
    """
    peer = server_with_chunks(mirrors=["http://other"])
    peer.tracker = FakeTracker(dags_of_all(), peers=(PEER,), assigned=0)
    scenario = _scenario("internet", peer=peer)
    scenario.fetcher.servers["http://other"] = server_with_chunks()
    scenario.fetcher.servers[PEER] = server_with_chunks()
    for server in scenario.fetcher.servers.values():
        for path in (entry_path(Digest.of(KERNEL)), dag_path(build_dag(chunked(KERNEL)).root)):
            del server.files[path]
    scenario.fetcher.servers["http://gate"] = gateway_with_chunks()
    scenario.platform.table["discovery"]["gateways"] = ["http://gate"]
    disk = scenario.cache.cache = MemoryDisk()
    name = f"{Digest.of(ROOTFS).hex}.chunks.0"
    disk.add_file(Folder.PARTIALS, name, ROOTFS[: len(ROOTFS) // 2])
    older, tree = Digest.of(OLDER_KERNEL), build_dag(chunked(OLDER_KERNEL))
    disk.add_file(Folder.ENTRIES, older.hex, OLDER_KERNEL)
    disk.add_file(Folder.INDEXES, f"{older.hex}.{tree.root}", b"".join(tree.car()))
    return scenario


def wan() -> Scenario:
    """No provider is near: a router has the publisher's IPNS record, which names a mirror.

    Another router answers with a record of a foreign key.
    """
    scenario = _scenario("internet", mirror=good_server())
    scenario.lan_urls = []
    scenario.platform.trusting(ROOT_WITH_ANNOUNCER)
    scenario.platform.table["discovery"] |= {
        "order": ["lan", "wan", "url"],
        "routers": ["http://router", "http://liar"],
    }
    for name, raw in (("router", record()), ("liar", record(key=UNTRUSTED_KEY))):
        scenario.fetcher.servers[f"http://{name}"] = FakeServer({RECORD_PATH: raw})
    return scenario


def dht() -> Scenario:
    """No provider and no server has the publisher's record, but peers of a DHT have it.

    One of them has a record of a foreign key.
    """
    scenario = wan()
    scenario.platform.table["discovery"] |= {"routers": [], "bootstrap": [BOOTSTRAP]}
    scenario.dht.peers = [None, record(key=UNTRUSTED_KEY), record(), record(), record()]
    return scenario


def bitswap() -> Scenario:
    """The mirror of the record has the manifest alone: the artifacts come from peers of libp2p.

    The record names one peer, and the DHT another one.
    """
    scenario = wan()
    mirror = server_with_chunks()
    mirror.files = {path: mirror.files[path] for path in ("stable/amd64/manifest.json",)}
    scenario.fetcher.servers["http://mirror"] = mirror
    raw = record(announcement=announcement(providers=(PROVIDER,)))
    scenario.fetcher.servers["http://router"] = FakeServer({RECORD_PATH: raw})
    scenario.platform.table["discovery"]["bootstrap"] = [BOOTSTRAP]
    address, _, peer = BOOTSTRAP.partition("/p2p/")
    scenario.blocks.provided_by = [BlockPeer(peer, (address,), Scope.PRIVATE)]
    for data in (KERNEL, INITRAMFS, ROOTFS):
        scenario.blocks.add_file(data, chunked(data))
    return scenario


def local() -> Scenario:
    """Every artifact is on Cache, and the network has no provider."""
    scenario = _scenario("local", peer=good_server())
    scenario.lan_urls = []
    scenario.platform.table["discovery"]["order"] = ["lan", "cache"]
    scenario.platform.table["network"]["reach"] = "lan"
    files, state_files = _cache_after_boot()
    disk = scenario.cache.cache = MemoryDisk()
    for name, data in files.items():
        disk.add_file(Folder.ENTRIES, name, data)
    scenario.cache.state_files.files.update(state_files)
    return scenario


def private() -> Scenario:
    """Private mode: Cache stays unchanged, and one of two interfaces stays down."""
    scenario = _scenario("private", peer=good_server())
    scenario.privacy.found = replace(SOUND, interfaces=(GOOD, KEPT))
    scenario.platform.table["cache_enabled"] = False
    disk = scenario.cache.cache = MemoryDisk()
    disk.add_file(Folder.ENTRIES, Digest.of(OLD).hex, OLD)
    scenario.cache.state_files.files["state.json"] = b"state of an earlier boot"
    return scenario


def permanent_address() -> Scenario:
    """Private mode, and an interface is up with its permanent address."""
    scenario = _scenario("private", peer=good_server())
    scenario.platform.table["cache_enabled"] = False
    scenario.privacy.found = replace(SOUND, interfaces=(replace(GOOD, address=BURNED_IN),))
    return scenario


def typed_url() -> Scenario:
    """No provider is found until a person types a URL; the connection is lost once."""
    peer = good_server()
    peer.vanish_after = 3000
    scenario = _scenario("internet", peer=peer)
    url, scenario.lan_urls = scenario.lan_urls[0], []
    scenario.operator.answers = [Answer(MenuAction.URL, url), *scenario.operator.answers]
    return scenario


def shell_actions() -> Scenario:
    """No link comes up until a person has used everything that the Shell offers."""
    scenario = _scenario("internet", peer=good_server())
    scenario.network.up = False
    scenario.platform.table["shell"]["root"] = True
    scenario.operator.choices = [None]
    scenario.operator.answers = [
        Answer(MenuAction.SAVE),
        Answer(MenuAction.ROOT_SHELL),
        Answer(MenuAction.CANDIDATE),
        Answer(MenuAction.CLOCK, wall=NOW + timedelta(days=1)),
        Answer(MenuAction.NETWORK, setup=Setup(interface="eth0")),
        *scenario.operator.answers,
    ]
    return scenario


def chainload() -> Scenario:
    """The running kernel refuses kexec, so the target is staged for the firmware's loader."""
    scenario = _scenario("internet", peer=good_server())
    scenario.kexec.refuse("the running kernel is locked down", lasting=True)
    return scenario


def no_boot_method() -> Scenario:
    """Neither kexec nor the firmware's loader can start the target."""
    scenario = _scenario("private", peer=good_server())
    scenario.platform.table["cache_enabled"] = False
    scenario.kexec.refuse("the image has no format that the kernel knows", errno="ENOEXEC")
    scenario.loader.refusal = "the stick is write-protected"
    return scenario


def unattended() -> Scenario:
    """No key is pressed for six hours; the only mirror comes up late and is busy at first."""
    peer = good_server()
    peer.up_at, peer.busy_until, peer.retry_after = 120.0, 180.0, 30.0
    scenario = _scenario("internet", peer=peer)
    scenario.operator.away_until = 6 * 3600.0
    return scenario


SCENARIOS: Final[Mapping[str, Callable[[], Scenario]]] = MappingProxyType(
    {
        scenario.__name__: scenario
        for scenario in (
            internet,
            peer_sharing,
            wan,
            dht,
            bitswap,
            local,
            private,
            permanent_address,
            typed_url,
            shell_actions,
            chainload,
            no_boot_method,
            unattended,
        )
    }
)


MODES: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "internet": (
            "internet",
            "peer_sharing",
            "wan",
            "typed_url",
            "shell_actions",
            "chainload",
            "unattended",
        ),
        "local": ("local",),
        "private": ("private", "permanent_address", "no_boot_method"),
    }
)
"""The scenarios of each mode."""


def _scenario(mode: str, **servers: FakeServer) -> Scenario:
    fetcher = FakeFetcher(**servers)
    scenario = Scenario(fetcher, lan_urls=[fetcher.manifest_url(name) for name in servers])
    scenario.platform.table = policy_table(mode=mode)
    scenario.supervisor.period = 3600
    # The person retries once, then powers off.
    scenario.operator.answers = [Answer(MenuAction.RETRY), Answer(MenuAction.POWER_OFF)]
    return scenario


@cache
def _cache_after_boot() -> tuple[Mapping[str, bytes], Mapping[str, bytes]]:
    """Return the entries and state files that a good boot leaves on Cache."""
    scenario = _scenario("internet", peer=good_server())
    disk, state_files = scenario.cache.cache, scenario.cache.state_files
    scenario.run()
    assert disk is not None
    items = disk.items(Folder.ENTRIES)
    return {item.name: disk.content(Folder.ENTRIES, item.name) for item in items}, state_files.files


def _rotated() -> FakeServer:
    server = good_server()
    server.files["root/2.json"] = ROOT_2
    server.files["stable/amd64/manifest.json"] = signed(document(), NEW_PUBLISHER)
    return server
