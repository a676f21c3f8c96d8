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
from phase_boot.drill.fake_mirrors import (
    Site,
    Sites,
    chunked,
    dags_of_all,
    gateway_with_chunks,
    good_site,
    site_with_chunks,
)
from phase_boot.drill.fake_peers import FakeTracker
from phase_boot.drill.fake_privacy import BURNED_IN, GOOD, KEPT, SOUND
from phase_boot.drill.fakes import policy_table
from phase_boot.drill.memory_disk import MemoryDisk
from phase_boot.drill.sample_kernel import bzimage
from phase_boot.drill.sample_manifest import (
    INITRAMFS,
    KERNEL,
    NOW,
    ROOTFS,
    STRANGER,
    document,
    signed,
)
from phase_boot.drill.sample_root import NEW_PUBLISHER, ROOT_1, ROOT_2
from phase_boot.drill.scenario import Scenario
from phase_boot.ports.network import Setup
from phase_boot.ports.operator import Answer, MenuAction
from phase_boot.store.disk import Folder
from phase_boot.store.layout import dag_path, entry_path

NEIGHBOUR: Final = "http://10.0.0.9:7000"
OLD: Final = b"what an older version left " * 100
OLDER_KERNEL: Final = bzimage(b"kernel of an older version")
EVIL: Final = bzimage(b"an unsigned kernel")
_FILES: Final = {"kernel": EVIL, "initramfs": INITRAMFS, "rootfs": ROOTFS}


def internet() -> Scenario:
    """A new root and version are published; a peer lies; Cache is full and partly corrupt."""
    liar = good_site()
    digests = {name: str(Digest.of(data)) for name, data in _FILES.items()}
    sizes = {name: len(data) for name, data in _FILES.items()}
    liar.files["stable/amd64/manifest.json"] = signed(
        document(artifacts=digests, sizes=sizes, mirrors=["http://liar"]), STRANGER
    )
    liar.files |= {f"cas/sha256/{Digest.of(data).hex}": data for data in _FILES.values()}
    play = _scene("internet", liar=liar, peer=_rotated())
    play.platform.trusting(ROOT_1)
    disk = MemoryDisk(capacity=len(ROOTFS) + len(OLD) + 100)
    disk.plant(Folder.ENTRIES, Digest.of(OLD).hex, OLD)
    disk.plant(Folder.ENTRIES, Digest.of(KERNEL).hex, bytes(len(KERNEL)))
    disk.plant(Folder.ENTRIES, Digest.of(b"x").hex, bytes(90))
    play.cache.cache = disk
    return play


def shared() -> Scenario:
    """Chunks come from three sources, one of them a peer, and from an older local version.

    Another artifact and its chunk list are only at a gateway.
    """
    peer = site_with_chunks(mirrors=["http://other"])
    peer.tracker = FakeTracker(dags_of_all(), peers=(NEIGHBOUR,), assigned=0)
    play = _scene("internet", peer=peer)
    play.sites.by_base["http://other"] = site_with_chunks()
    play.sites.by_base[NEIGHBOUR] = site_with_chunks()
    for site in play.sites.by_base.values():
        for path in (entry_path(Digest.of(KERNEL)), dag_path(build_dag(chunked(KERNEL)).root)):
            del site.files[path]
    play.sites.by_base["http://gate"] = gateway_with_chunks()
    play.platform.table["discovery"]["gateways"] = ["http://gate"]
    disk = play.cache.cache = MemoryDisk()
    name = f"{Digest.of(ROOTFS).hex}.chunks.0"
    disk.plant(Folder.PARTIALS, name, ROOTFS[: len(ROOTFS) // 2])
    older, tree = Digest.of(OLDER_KERNEL), build_dag(chunked(OLDER_KERNEL))
    disk.plant(Folder.ENTRIES, older.hex, OLDER_KERNEL)
    disk.plant(Folder.INDEXES, f"{older.hex}.{tree.root}", b"".join(tree.car()))
    return play


def local() -> Scenario:
    """Every artifact is on Cache, and the network has no provider."""
    play = _scene("local", peer=good_site())
    play.found = []
    play.platform.table["discovery"]["order"] = ["lan", "cache"]
    play.platform.table["network"]["reach"] = "lan"
    files, pages = _after_a_boot()
    disk = play.cache.cache = MemoryDisk()
    for name, data in files.items():
        disk.plant(Folder.ENTRIES, name, data)
    play.cache.notes.pages.update(pages)
    return play


def private() -> Scenario:
    """Private mode: Cache stays unchanged, and one of two interfaces stays down."""
    play = _scene("private", peer=good_site())
    play.privacy.found = replace(SOUND, interfaces=(GOOD, KEPT))
    play.platform.table["cache_enabled"] = False
    disk = play.cache.cache = MemoryDisk()
    disk.plant(Folder.ENTRIES, Digest.of(OLD).hex, OLD)
    play.cache.notes.pages["state.json"] = b"whatever stood there"
    return play


def exposed() -> Scenario:
    """Private mode, and an interface is up with its permanent address."""
    play = _scene("private", peer=good_site())
    play.platform.table["cache_enabled"] = False
    play.privacy.found = replace(SOUND, interfaces=(replace(GOOD, address=BURNED_IN),))
    return play


def typed() -> Scenario:
    """No provider is found until a person types a URL; the connection is lost once."""
    peer = good_site()
    peer.vanish_after = 3000
    play = _scene("internet", peer=peer)
    url, play.found = play.found[0], []
    play.operator.answers = [Answer(MenuAction.URL, url), *play.operator.answers]
    return play


def helped() -> Scenario:
    """No link comes up until a person has used everything that the Shell offers."""
    play = _scene("internet", peer=good_site())
    play.network.up = False
    play.platform.table["shell"]["root"] = True
    play.operator.choices = [None]
    play.operator.answers = [
        Answer(MenuAction.SAVE),
        Answer(MenuAction.ROOT_SHELL),
        Answer(MenuAction.CANDIDATE),
        Answer(MenuAction.CLOCK, wall=NOW + timedelta(days=1)),
        Answer(MenuAction.NETWORK, setup=Setup(interface="eth0")),
        *play.operator.answers,
    ]
    return play


def staged() -> Scenario:
    """The running kernel refuses kexec, so the target is staged for the firmware's loader."""
    play = _scene("internet", peer=good_site())
    play.kexec.refuse("the running kernel is locked down", lasting=True)
    return play


def stranded() -> Scenario:
    """Neither kexec nor the firmware's loader can start the target."""
    play = _scene("private", peer=good_site())
    play.platform.table["cache_enabled"] = False
    play.kexec.refuse("the image has no format that the kernel knows", errno="ENOEXEC")
    play.loader.refusal = "the stick is write-protected"
    return play


def unattended() -> Scenario:
    """No key is pressed for six hours; the only mirror comes up late and is busy at first."""
    peer = good_site()
    peer.up_at, peer.busy_until, peer.retry_after = 120.0, 180.0, 30.0
    play = _scene("internet", peer=peer)
    play.operator.away_until = 6 * 3600.0
    return play


SCENARIOS: Final[Mapping[str, Callable[[], Scenario]]] = MappingProxyType(
    {
        scene.__name__: scene
        for scene in (
            internet,
            shared,
            local,
            private,
            exposed,
            typed,
            helped,
            staged,
            stranded,
            unattended,
        )
    }
)


MODES: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "internet": ("internet", "shared", "typed", "helped", "staged", "unattended"),
        "local": ("local",),
        "private": ("private", "exposed", "stranded"),
    }
)
"""The scenarios of each mode."""


def _scene(mode: str, **sites: Site) -> Scenario:
    net = Sites(**sites)
    play = Scenario(net, found=[net.manifest_url(name) for name in sites])
    play.platform.table = policy_table(mode=mode)
    play.supervisor.period = 3600
    # The person retries once, then powers off.
    play.operator.answers = [Answer(MenuAction.RETRY), Answer(MenuAction.POWER_OFF)]
    return play


@cache
def _after_a_boot() -> tuple[Mapping[str, bytes], Mapping[str, bytes]]:
    """Return the entries and state files that a good boot leaves on Cache."""
    play = _scene("internet", peer=good_site())
    disk, notes = play.cache.cache, play.cache.notes
    play.play()
    assert disk is not None
    items = disk.items(Folder.ENTRIES)
    return {item.name: disk.content(Folder.ENTRIES, item.name) for item in items}, notes.pages


def _rotated() -> Site:
    site = good_site()
    site.files["root/2.json"] = ROOT_2
    site.files["stable/amd64/manifest.json"] = signed(document(), NEW_PUBLISHER)
    return site
