"""Random sequences of boots, releases, thefts of keys and attacks on one stick.

In each sequence the jump starts only artifacts of one manifest that a threshold of the keys of the
newest seen root signed, and no version below an earlier one.
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
from phase_boot.drill.fake_servers import FakeServer
from phase_boot.drill.fakes import FakeCache
from phase_boot.drill.memory_state_files import MemoryStateFiles
from phase_boot.drill.sample_manifest import UNTRUSTED_KEY, document, signed
from phase_boot.drill.sample_root import channel, root_document, signed_root
from phase_boot.drill.scenario import Scenario, lan_scenario
from phase_boot.drill.virtual_time import NOON, VirtualClock
from phase_boot.machine.graph import State
from phase_boot.machine.trust_state import STATE
from phase_boot.store.disk import Folder
from phase_boot.store.errors import DiskFailed
from phase_boot.trust.keys import SigningKey
from tests.support.examples import examples
from tests.support.roots import SECOND_ROOT_KEY

MANIFEST: Final = "stable/amd64/manifest.json"
ENTRY: Final = "cas/sha256/"
NAMES: Final = ("kernel", "initramfs", "rootfs")
FLOOR: Final = Version.parse("2025.10.01")


@dataclass(frozen=True)
class Release:
    """A version and its artifacts, as one key signed them."""

    version: Version
    keyid: str
    files: tuple[bytes, bytes, bytes]


@dataclass
class Publisher:
    """The publisher: its key, its roots, its servers and releases."""

    number: int = 0
    roots: list[bytes] = field(default_factory=list)
    servers: list[FakeServer] = field(default_factory=list)
    releases: list[Release] = field(default_factory=list)

    @property
    def key(self) -> SigningKey:
        return publisher_key(len(self.roots))


def publisher_key(root: int) -> SigningKey:
    """Return the key that root number `root` names as the publisher's."""
    return SigningKey(bytes([root]) * 32)


def release(version: str, key: SigningKey, tag: str) -> tuple[Release, FakeServer]:
    kernel, initramfs, rootfs = (f"{name} {version} {tag}".encode() * 99 for name in NAMES)
    files = {"kernel": kernel, "initramfs": initramfs, "rootfs": rootfs}
    body = document(
        version=version,
        artifacts={name: str(Digest.of(data)) for name, data in files.items()},
        sizes={name: len(data) for name, data in files.items()},
        mirrors=[],
    )
    server = FakeServer({ENTRY + Digest.of(data).hex: data for data in files.values()})
    server.files[MANIFEST] = signed(body, key)
    return Release(Version.parse(version), key.keyid, (kernel, initramfs, rootfs)), server


def tampered(server: FakeServer, path: Callable[[str], bool], at: int) -> FakeServer:
    """Return a mirror that changes a byte of every file whose path fits."""

    def tamper(name: str, data: bytes) -> bytes:
        if not path(name):
            return data
        place = at % len(data)
        return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]

    return FakeServer(dict(server.files), tamper=tamper)


class Stick(RuleBasedStateMachine):
    """One stick, its publisher and its attackers."""

    def __init__(self) -> None:
        super().__init__()
        self.publisher = Publisher()
        self.publisher.roots.append(
            signed_root(root_document(channels={"stable": channel(publisher_key(1))}))
        )
        self.stolen: set[int] = set()
        self.cache = FakeCache()
        self.signed: list[Release] = []
        self.offers: list[FakeServer] = []
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
        self.publisher.number += 1
        made, server = release(f"2025.11.{self.publisher.number}", self.publisher.key, "honest")
        server.files |= {f"root/{n}.json": raw for n, raw in enumerate(self.publisher.roots, 1)}
        self.signed.append(made)
        self.publisher.servers.append(server)

    @precondition(lambda self: len(self.publisher.roots) < 9)
    @rule()
    def rotate(self) -> None:
        """The publisher's key was stolen: the next root names another one."""
        version = len(self.publisher.roots) + 1
        body = root_document(version, channels={"stable": channel(publisher_key(version))})
        self.stolen.add(version - 1)
        self.publisher.roots.append(signed_root(body))
        self.publish()

    # ---- attackers on the network ---------------------------------------------------------------

    @rule(which=st.integers(0, 99))
    def offer_an_honest_mirror(self, which: int) -> None:
        """Offer the newest mirror or an older one."""
        self.offers.append(self.publisher.servers[-1 - which % len(self.publisher.servers)])

    @rule(at=st.integers(0, 10_000), which=st.sampled_from([MANIFEST, ENTRY, "root/"]))
    def offer_a_mirror_that_tampers(self, at: int, which: str) -> None:
        server = self.publisher.servers[-1]
        self.offers.append(tampered(server, lambda path: path.startswith(which), at))

    @precondition(lambda self: self.stolen)
    @rule(data=st.data(), number=st.integers(0, 99))
    def offer_a_version_signed_by_a_stolen_key(self, data: st.DataObject, number: int) -> None:
        key = publisher_key(data.draw(st.sampled_from(sorted(self.stolen))))
        made, server = release(f"2025.11.{number}", key, "stolen")
        self.signed.append(made)
        self.offers.append(server)

    @rule(number=st.integers(0, 99))
    def offer_a_version_signed_by_an_untrusted_key(self, number: int) -> None:
        _, server = release(f"2025.12.{number}", UNTRUSTED_KEY, "stranger")
        following = len(self.publisher.roots) + 1
        body = root_document(
            following, root={"keys": [UNTRUSTED_KEY.keyid], "threshold": 1},
            channels={"stable": channel(UNTRUSTED_KEY)},
        )  # fmt: skip
        server.files |= {f"root/{n}.json": raw for n, raw in enumerate(self.publisher.roots, 1)}
        server.files[f"root/{following}.json"] = signed_root(body, UNTRUSTED_KEY, SECOND_ROOT_KEY)
        self.offers.append(server)

    @rule(old=st.integers(0, 99), new=st.integers(0, 99))
    def offer_a_mix_of_two_versions(self, old: int, new: int) -> None:
        one = self.publisher.servers[old % len(self.publisher.servers)]
        other = self.publisher.servers[new % len(self.publisher.servers)]
        names = [path for path in one.files if path.startswith(ENTRY)]
        others = [path for path in other.files if path.startswith(ENTRY)]
        mixed = FakeServer(dict(one.files))
        mixed.files[names[0]] = other.files[others[0]]
        self.offers.append(mixed)

    @rule(old=st.integers(0, 99))
    def offer_an_old_root_as_the_next(self, old: int) -> None:
        server = FakeServer(dict(self.publisher.servers[-1].files))
        roots = self.publisher.roots
        server.files[f"root/{len(roots) + 1}.json"] = roots[old % len(roots)]
        self.offers.append(server)

    @rule(after=st.integers(0, 5000))
    def offer_a_mirror_that_breaks_off(self, after: int) -> None:
        self.offers.append(FakeServer(dict(self.publisher.servers[-1].files), vanish_after=after))

    @rule()
    def offer_a_mirror_that_hangs(self) -> None:
        self.offers.append(FakeServer(dict(self.publisher.servers[-1].files), hangs=True))

    # ---- failures, and attackers who write to the stick -----------------------------------------

    @rule(at=st.integers(0, 100_000), page=st.integers(0, 9), what=st.sampled_from("fdt"))
    def damage_the_state_files(self, at: int, page: int, what: str) -> None:
        pages = self.cache.state_files.files
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
        # A floor or a root may be lost, and is reported; the image's own root and minimum remain.
        self.highest = None
        if name != STATE:
            self.root = min(self.root, int(name.split(".")[1]) - 1)

    @rule(full=st.booleans(), unwritable=st.booleans())
    def break_the_disk(self, *, full: bool, unwritable: bool) -> None:
        assert self.cache.cache is not None
        self.cache.cache.capacity = 3000 if full else 1 << 30
        self.cache.cache.read_only = unwritable
        failure = DiskFailed("Could not write: Input/output error.") if unwritable else None
        if unwritable and self.cache.state_files.refusal is None:
            self.highest, self.root = None, 1
        self.cache.state_files.refusal = failure

    @rule(days=st.integers(-400, 400))
    def set_the_clock(self, days: int) -> None:
        self.clock = NOON + timedelta(days=days)

    @rule(refuses=st.booleans())
    def switch_kexec_refusal(self, *, refuses: bool) -> None:
        self.kexec_refuses = refuses

    # ---- the boot -------------------------------------------------------------------------------

    @rule(which=st.integers(0, 2))
    def boot_from_one_mirror(self, which: int) -> None:
        self.offers = []
        self.offer_an_honest_mirror(which)
        self.boot(random.Random(0))  # noqa: S311 - one offer has one order

    @rule(order=st.randoms(use_true_random=False))
    def boot(self, order: random.Random) -> None:
        offers = [FakeServer(s.files, s.tamper, s.vanish_after, hangs=s.hangs) for s in self.offers]
        order.shuffle(offers)
        self.offers = []
        scenario = lan_scenario(**{f"site{number}": server for number, server in enumerate(offers)})
        scenario.platform.trusting(self.publisher.roots[0])
        scenario.platform.table["discovery"]["candidates"] = 50
        scenario.cache = self.cache
        scenario.clock = VirtualClock(self.clock)
        if self.kexec_refuses:
            scenario.kexec.refuse("the kernel said EPERM")
        end = scenario.run()
        assert scenario.walk.end is end
        self._check_trust(scenario)
        if scenario.kexec.jumped:
            self._check_the_jump(scenario)
        assert (end is State.TARGET) == scenario.kexec.jumped
        assert (end is State.FIRMWARE) == scenario.loader.restarted

    def _check_trust(self, scenario: Scenario) -> None:
        (recalled,) = scenario.of("trust.recalled")
        assert recalled["root"] >= self.root
        followed = [event["version"] for event in scenario.of("root.followed")]
        root = max([recalled["root"], *followed])
        assert root <= len(self.publisher.roots)
        if self.cache.state_files.refusal is None:
            self.root = root
        self.now_trusted = publisher_key(root).keyid

    def _check_the_jump(self, scenario: Scenario) -> None:
        assert scenario.kexec.kernel is not None
        assert scenario.kexec.initrd is not None
        (jumped,) = [
            made
            for made in self.signed
            if made.keyid == self.now_trusted and made.files[0] == scenario.kexec.kernel
        ][:1]
        assert scenario.kexec.initrd.startswith(jumped.files[1])
        assert str(Digest.of(jumped.files[2])) in (scenario.kexec.cmdline or "")
        assert jumped.version >= FLOOR
        if self.highest is not None:
            assert jumped.version >= self.highest or jumped.keyid != self.highest_by
        if self.cache.state_files.refusal is None:
            self.highest, self.highest_by = jumped.version, jumped.keyid

    # ---- invariants -----------------------------------------------------------------------------

    @invariant()
    def the_store_holds_only_signed_bytes(self) -> None:
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
    def only_the_state_and_roots_are_stored(self) -> None:
        assert isinstance(self.cache.state_files, MemoryStateFiles)
        assert set(self.cache.state_files.files) <= {
            STATE, *(f"root.{n}.json" for n in range(2, len(self.publisher.roots) + 1))
        }  # fmt: skip


TestStick = Stick.TestCase
TestStick.settings = settings(
    max_examples=examples(60),
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
