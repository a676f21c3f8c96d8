"""A stick over many boots, in a world where a publisher, a thief and chance take turns.

Whatever they do, the jump is only ever reached with bytes whose digests were signed together by a
threshold of the keys that the newest root this stick has seen names, and never goes back.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from phase_boot.content.digest import Digest
from phase_boot.content.version import Version
from phase_boot.drill.fake_mirrors import Site
from phase_boot.drill.fakes import FakeCache
from phase_boot.drill.memory_state_files import MemoryStateFiles
from phase_boot.drill.sample_manifest import STRANGER, document, signed
from phase_boot.drill.sample_root import channel, root_document, signed_root
from phase_boot.drill.scenario import Scenario, scene
from phase_boot.drill.virtual_time import NOON, VirtualClock
from phase_boot.machine.graph import State
from phase_boot.machine.trust_state import STATE
from phase_boot.store.disk import Folder
from phase_boot.store.errors import DiskFailed
from phase_boot.trust.keys import SigningKey
from tests.support.examples import examples
from tests.support.roots import SECOND_KEEPER

MANIFEST: Final = "stable/amd64/manifest.json"
ENTRY: Final = "cas/sha256/"
NAMES: Final = ("kernel", "initramfs", "rootfs")
FLOOR: Final = Version.parse("2025.10.01")


@dataclass(frozen=True)
class Release:
    """What somebody signed together."""

    version: Version
    keyid: str
    files: tuple[bytes, bytes, bytes]


@dataclass
class Publisher:
    """The honest one: a key, the roots that say so, and what was released."""

    number: int = 0
    roots: list[bytes] = field(default_factory=list)
    sites: list[Site] = field(default_factory=list)
    releases: list[Release] = field(default_factory=list)

    @property
    def key(self) -> SigningKey:
        return publisher_key(len(self.roots))


def publisher_key(root: int) -> SigningKey:
    """Return the key that root number `root` names as the publisher's."""
    return SigningKey(bytes([root]) * 32)


def release(version: str, key: SigningKey, tag: str) -> tuple[Release, Site]:
    kernel, initramfs, rootfs = (f"{name} {version} {tag}".encode() * 99 for name in NAMES)
    files = {"kernel": kernel, "initramfs": initramfs, "rootfs": rootfs}
    body = document(
        version=version,
        artifacts={name: str(Digest.of(data)) for name, data in files.items()},
        sizes={name: len(data) for name, data in files.items()},
        mirrors=[],
    )
    site = Site({ENTRY + Digest.of(data).hex: data for data in files.values()})
    site.files[MANIFEST] = signed(body, key)
    return Release(Version.parse(version), key.keyid, (kernel, initramfs, rootfs)), site


def tampered(site: Site, path: Callable[[str], bool], at: int) -> Site:
    """Return a mirror that changes a byte of every file whose path fits."""

    def twist(name: str, data: bytes) -> bytes:
        if not path(name):
            return data
        place = at % len(data)
        return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]

    return Site(dict(site.files), twist=twist)


class Stick(RuleBasedStateMachine):
    """The world and one stick in it."""

    def __init__(self) -> None:
        super().__init__()
        self.honest = Publisher()
        self.honest.roots.append(
            signed_root(root_document(channels={"stable": channel(publisher_key(1))}))
        )
        self.stolen: set[int] = set()
        self.cache = FakeCache()
        self.signed: list[Release] = []
        self.offers: list[Site] = []
        self.root = 1
        self.highest: Version | None = None
        self.highest_by = ""
        self.now_trusted = ""
        self.clock = NOON
        self.kexec_refuses = False
        self.publish()
        self.publish()

    # ---- the publisher --------------------------------------------------------------------------

    @rule()
    def publish(self) -> None:
        self.honest.number += 1
        made, site = release(f"2025.11.{self.honest.number}", self.honest.key, "honest")
        site.files |= {f"root/{n}.json": raw for n, raw in enumerate(self.honest.roots, 1)}
        self.signed.append(made)
        self.honest.sites.append(site)

    @precondition(lambda self: len(self.honest.roots) < 9)
    @rule()
    def rotate(self) -> None:
        """The publisher's key was stolen: the next root names another one."""
        version = len(self.honest.roots) + 1
        body = root_document(version, channels={"stable": channel(publisher_key(version))})
        self.stolen.add(version - 1)
        self.honest.roots.append(signed_root(body))
        self.publish()

    # ---- the thief ------------------------------------------------------------------------------

    @rule(which=st.integers(0, 99))
    def offer_an_honest_mirror(self, which: int) -> None:
        """The newest one, or one that lags behind."""
        self.offers.append(self.honest.sites[-1 - which % len(self.honest.sites)])

    @rule(at=st.integers(0, 10_000), which=st.sampled_from([MANIFEST, ENTRY, "root/"]))
    def offer_a_mirror_that_tampers(self, at: int, which: str) -> None:
        site = self.honest.sites[-1]
        self.offers.append(tampered(site, lambda path: path.startswith(which), at))

    @precondition(lambda self: self.stolen)
    @rule(data=st.data(), number=st.integers(0, 99))
    def offer_what_a_stolen_key_signed(self, data: st.DataObject, number: int) -> None:
        key = publisher_key(data.draw(st.sampled_from(sorted(self.stolen))))
        made, site = release(f"2025.11.{number}", key, "stolen")
        self.signed.append(made)
        self.offers.append(site)

    @rule(number=st.integers(0, 99))
    def offer_what_a_stranger_signed(self, number: int) -> None:
        _, site = release(f"2025.12.{number}", STRANGER, "stranger")
        following = len(self.honest.roots) + 1
        body = root_document(
            following, root={"keys": [STRANGER.keyid], "threshold": 1},
            channels={"stable": channel(STRANGER)},
        )  # fmt: skip
        site.files |= {f"root/{n}.json": raw for n, raw in enumerate(self.honest.roots, 1)}
        site.files[f"root/{following}.json"] = signed_root(body, STRANGER, SECOND_KEEPER)
        self.offers.append(site)

    @rule(old=st.integers(0, 99), new=st.integers(0, 99))
    def offer_a_mix_of_two_versions(self, old: int, new: int) -> None:
        one = self.honest.sites[old % len(self.honest.sites)]
        other = self.honest.sites[new % len(self.honest.sites)]
        names = [path for path in one.files if path.startswith(ENTRY)]
        others = [path for path in other.files if path.startswith(ENTRY)]
        mixed = Site(dict(one.files))
        mixed.files[names[0]] = other.files[others[0]]
        self.offers.append(mixed)

    @rule(old=st.integers(0, 99))
    def offer_an_old_root_as_the_next(self, old: int) -> None:
        site = Site(dict(self.honest.sites[-1].files))
        roots = self.honest.roots
        site.files[f"root/{len(roots) + 1}.json"] = roots[old % len(roots)]
        self.offers.append(site)

    @rule(after=st.integers(0, 5000))
    def offer_a_mirror_that_breaks_off(self, after: int) -> None:
        self.offers.append(Site(dict(self.honest.sites[-1].files), vanish_after=after))

    @rule()
    def offer_a_mirror_that_hangs(self) -> None:
        self.offers.append(Site(dict(self.honest.sites[-1].files), hangs=True))

    # ---- chance, and whoever can write to the stick ---------------------------------------------

    @rule(at=st.integers(0, 100_000), page=st.integers(0, 9), what=st.sampled_from("fdt"))
    def damage_what_is_remembered(self, at: int, page: int, what: str) -> None:
        pages = self.cache.notes.pages
        if not pages:
            return
        name = sorted(pages)[page % len(pages)]
        # A page that was cut to nothing before gets a byte to damage.
        raw = pages.pop(name) or b"\0"
        place = at % len(raw)
        if what == "f":
            pages[name] = raw[:place] + bytes([raw[place] ^ 0x20]) + raw[place + 1 :]
        elif what == "t":
            pages[name] = raw[:place]
        # Only what the image says is certain now: a floor or a root may be lost, and is reported.
        self.highest = None
        if name != STATE:
            self.root = min(self.root, int(name.split(".")[1]) - 1)

    @rule(full=st.booleans(), unwritable=st.booleans())
    def break_the_disk(self, *, full: bool, unwritable: bool) -> None:
        assert self.cache.cache is not None
        self.cache.cache.capacity = 3000 if full else 1 << 30
        self.cache.cache.read_only = unwritable
        failure = DiskFailed("Could not write: Input/output error.") if unwritable else None
        if unwritable and self.cache.notes.refusal is None:
            self.highest, self.root = None, 1
        self.cache.notes.refusal = failure

    @rule(days=st.integers(-400, 400))
    def set_the_clock(self, days: int) -> None:
        self.clock = NOON + timedelta(days=days)

    @rule(refuses=st.booleans())
    def change_the_kernels_mind(self, *, refuses: bool) -> None:
        self.kexec_refuses = refuses

    # ---- the boot -------------------------------------------------------------------------------

    @rule(which=st.integers(0, 2))
    def boot_from_one_mirror(self, which: int) -> None:
        self.offers = []
        self.offer_an_honest_mirror(which)
        self.boot(random.Random(0))  # noqa: S311 - one offer has one order

    @rule(order=st.randoms(use_true_random=False))
    def boot(self, order: random.Random) -> None:
        offers = [Site(s.files, s.twist, s.vanish_after, hangs=s.hangs) for s in self.offers]
        order.shuffle(offers)
        self.offers = []
        play = scene(**{f"site{number}": site for number, site in enumerate(offers)})
        play.platform.trusting(self.honest.roots[0])
        play.platform.table["discovery"]["candidates"] = 50
        play.cache = self.cache
        play.clock = VirtualClock(self.clock)
        if self.kexec_refuses:
            play.kexec.refuse("the kernel said EPERM")
        end = play.play()
        assert play.walk.end is end
        self._look_at_trust(play)
        if play.kexec.jumped:
            self._look_at_the_jump(play)
        assert (end is State.TARGET) == play.kexec.jumped
        assert (end is State.FIRMWARE) == play.loader.restarted

    def _look_at_trust(self, play: Scenario) -> None:
        (recalled,) = play.of("trust.recalled")
        assert recalled["root"] >= self.root
        followed = [event["version"] for event in play.of("root.followed")]
        root = max([recalled["root"], *followed])
        assert root <= len(self.honest.roots)
        if self.cache.notes.refusal is None:
            self.root = root
        self.now_trusted = publisher_key(root).keyid

    def _look_at_the_jump(self, play: Scenario) -> None:
        assert play.kexec.kernel is not None
        assert play.kexec.initrd is not None
        (jumped,) = [
            made
            for made in self.signed
            if made.keyid == self.now_trusted and made.files[0] == play.kexec.kernel
        ][:1]
        assert play.kexec.initrd.startswith(jumped.files[1])
        assert str(Digest.of(jumped.files[2])) in (play.kexec.cmdline or "")
        assert jumped.version >= FLOOR
        if self.highest is not None:
            assert jumped.version >= self.highest or jumped.keyid != self.highest_by
        if self.cache.notes.refusal is None:
            self.highest, self.highest_by = jumped.version, jumped.keyid

    # ---- what always holds ----------------------------------------------------------------------

    @invariant()
    def nothing_stands_in_the_store_that_was_not_signed(self) -> None:
        assert self.cache.cache is not None
        signed_digests = {Digest.of(data).hex for made in self.signed for data in made.files}
        for item in self.cache.cache.items(Folder.ENTRIES):
            assert item.name in signed_digests
            fd = self.cache.cache.open(Folder.ENTRIES, item.name)
            try:
                assert Digest.of(os.pread(fd, item.size, 0)).hex == item.name
            finally:
                os.close(fd)

    @invariant()
    def nothing_else_is_remembered(self) -> None:
        assert isinstance(self.cache.notes, MemoryStateFiles)
        assert set(self.cache.notes.pages) <= {
            STATE, *(f"root.{n}.json" for n in range(2, len(self.honest.roots) + 1))
        }  # fmt: skip


TestStick = Stick.TestCase
TestStick.settings = settings(
    max_examples=examples(60),
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
