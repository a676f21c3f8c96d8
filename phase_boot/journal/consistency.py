"""What several events of a journal say of one thing: versions, hashes, sizes, the command line."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

from phase_boot.content.version import Version
from phase_boot.journal.journal import MAX_TEXT
from phase_boot.machine.graph import State
from phase_boot.trust.manifest import REQUIRED, Manifest

Record = Mapping[str, Any]
UKI: Final = "uki"
_WORD: Final = re.compile(r"(?:^| )phase\.(mode|version|rootfs)=(\S*)")


class Contradiction(Exception):
    """An event contradicts another one, or the manifest; the text says how."""


class Evidence:
    """What one run has said so far of what it boots.

    The rules hold for the handlers of this package; a plugin that emits their events must keep
    them too.
    """

    def __init__(self, manifest: Manifest | None = None, *, partial: bool = False) -> None:
        """Begin a run.

        Args:
            manifest: the one that was verified last, where it is at hand.
            partial: whether the first events of the run are missing.
        """
        self._signed = manifest
        self._partial = partial
        self._arch: str | None = None
        self._mode: str | None = None
        self._root: tuple[int, int] | None = None
        self._seen: Version | None = None
        self._persistent: bool | None = None
        self._urls: set[str] = set()
        self._verified: Record | None = None
        self._sizes: dict[str, int] = {}
        self._digests: dict[str, str] = {}
        self.sources: dict[str, str] = {}
        """Where each artifact of the verified manifest was fetched from."""
        self._first: str | None = None
        self._loaded: str | None = None
        self._refused: set[str] = set()

    @property
    def verified(self) -> Record | None:
        """The last `manifest.verified`."""
        return self._verified

    @property
    def mode(self) -> str | None:
        """The mode that the run started in."""
        return self._mode

    def add(self, record: Record, state: State | None) -> None:
        """Take an event that was emitted in ``state``, or outside of all of them.

        Raises:
            Contradiction: it cannot be true beside those before it.
        """
        name = record.get("artifact", UKI)
        if state is State.FETCH and name not in {*REQUIRED, UKI}:
            raise Contradiction(f"{name!r:.100} is no artifact that a boot fetches")
        rule = _RULES.get(str(record["event"]))
        if rule is not None:
            rule(self, record, state)

    def check_against_manifest(self) -> None:
        """Compare the last verified manifest with the one that is known.

        Raises:
            Contradiction: they differ.
        """
        signed, told = self._signed, self._verified
        if signed is None or told is None:
            return
        for field in ("version", "channel", "arch"):
            _equal(f"the verified {field}", told[field], str(getattr(signed, field)), "manifest")
        for name, digest in self._digests.items():
            artifact = signed.artifacts.get(name)
            if artifact is None:
                raise Contradiction(f"{name} was fetched, and the manifest names none")
            _equal(f"the sha256 of {name}", digest, artifact.digest.hex, "manifest")
        for name, size in self._sizes.items():
            if (artifact := signed.artifacts.get(name)) is not None:
                _equal(f"the size of {name}", size, artifact.size, "manifest")

    def _staged(self, record: Record, _state: State | None) -> None:
        if record["reached"] > record["at"]:
            raise Contradiction(f"the stage {record['name']!r:.100} lies ahead")

    def _started(self, record: Record, _state: State | None) -> None:
        if self._arch is not None:
            _equal("the architecture", record["arch"], self._arch, "start of this run")
        self._arch, self._mode = record["arch"], record["mode"]

    def _opened(self, record: Record, _state: State | None) -> None:
        self._persistent = record["persistent"]

    def _recalled(self, record: Record, _state: State | None) -> None:
        root, seen = record["root"], record["seen"]
        if self._persistent is not None:
            _equal("kept", record["kept"], self._persistent, "store.opened before it")
        self._root = None if root is None else (root, root)
        self._seen = None if seen is None else Version.parse(seen)

    def _followed(self, record: Record, _state: State | None) -> None:
        # A root that replaces a publisher's key ends what that key signed, and may lower this.
        self._seen = None if record["seen"] is None else Version.parse(record["seen"])
        if self._root is None:
            self._root = (record["version"] - 1, record["version"])
            return
        known, newest = self._root
        if not known < record["version"] <= newest + 1:
            raise Contradiction(f"root {record['version']} does not follow root {newest}")
        self._root = (known, max(newest, record["version"]))

    def _found(self, record: Record, _state: State | None) -> None:
        self._urls.add(record["url"])

    def _asked(self, record: Record, state: State | None) -> None:
        """Check the URL of a candidate that was judged: Discover found it before."""
        known = self._partial or record["url"] in self._urls
        if state is not None and not known:
            raise Contradiction(f"no candidate was found at {record['url']!r:.200}")

    def _verifies(self, record: Record, state: State | None) -> None:
        self._asked(record, state)
        if self._arch is not None:
            _equal("the verified architecture", record["arch"], self._arch, "start of this run")
        if not record["keys"] or len(set(record["keys"])) != len(record["keys"]):
            raise Contradiction("a manifest is verified by one key or more, each once")
        if self._seen is not None and Version.parse(record["version"]) < self._seen:
            raise Contradiction(f"version {record['version']} is below the {self._seen} seen")
        if self._verified is None or self._verified["version"] != record["version"]:
            self._sizes, self._digests, self.sources = {}, {}, {}
        self._verified = record

    def _fetching(self, record: Record, _state: State | None) -> None:
        name, size = record["artifact"], record["size"]
        self._need_manifest(f"{name} is fetched")
        _equal(f"the size of {name}", size, self._sizes.setdefault(name, size), "events before it")
        at = record.get("offset", record.get("done", 0))
        if at > size:
            raise Contradiction(f"{at} of {size} bytes of {name}")
        if "sha256" in record:
            digest = self._digests.setdefault(name, record["sha256"])
            _equal(f"the sha256 of {name}", record["sha256"], digest, "events before it")
            self.sources[name] = record["source"]

    def _inspected(self, record: Record, _state: State | None) -> None:
        if self._verified is not None:
            _equal("the kernel's architecture", record["arch"], self._verified["arch"], "manifest")
        self._first, self._loaded, self._refused = record["first"], None, set()

    def _refuses(self, record: Record, _state: State | None) -> None:
        self._tried(record["method"])
        self._refused.add(record["method"])

    def _tried(self, method: str) -> None:
        if self._first is not None and not self._refused and method != self._first:
            raise Contradiction(f"{method} is tried, and {self._first} was to be the first")
        if method in self._refused:
            raise Contradiction(f"{method} is tried again, which the kernel had refused")

    def _loads(self, record: Record, _state: State | None) -> None:
        self._tried(record["method"])
        self._loaded = record["method"]
        cmdline = record["cmdline"]
        if len(cmdline) == MAX_TEXT:
            # The journal cut it, and what the hand-over appends stands at its end.
            return
        words = dict(_WORD.findall(cmdline))
        self._need_manifest("a kernel is loaded")
        if self._verified is not None:
            _equal("phase.version", words.get("version"), self._verified["version"], "manifest")
        if self._mode is not None:
            _equal("phase.mode", words.get("mode"), self._mode, "start of this run")
        if (digest := self._digests.get("rootfs")) is not None:
            _equal("phase.rootfs", words.get("rootfs"), f"sha256:{digest}", "rootfs fetched")

    def _jumps(self, record: Record, _state: State | None) -> None:
        if self._loaded is None and not self._partial:
            raise Contradiction("a jump into a kernel that was not loaded")
        self._starts(record, _state)

    def _starts(self, record: Record, _state: State | None) -> None:
        self._need_manifest(f"{record['version']} is started")
        if self._verified is not None:
            wanted = self._verified["version"]
            _equal("the version started", record["version"], wanted, "manifest verified")

    def _need_manifest(self, what: str) -> None:
        if self._verified is None and not self._partial:
            raise Contradiction(f"{what}, and no manifest was verified")


def _equal(what: str, one: object, other: object, where: str) -> None:
    if one != other:
        raise Contradiction(f"{what} is {one!s:.200}, and {other!s:.200} in the {where}")


_Rule = Callable[[Evidence, Record, State | None], None]
_RULES: Final[Mapping[str, _Rule]] = MappingProxyType(
    {
        "stage": Evidence._staged,  # noqa: SLF001 - the table of this class's own rules
        "run.started": Evidence._started,  # noqa: SLF001 - the same
        "store.opened": Evidence._opened,  # noqa: SLF001 - the same
        "trust.recalled": Evidence._recalled,  # noqa: SLF001 - the same
        "root.followed": Evidence._followed,  # noqa: SLF001 - the same
        "candidate.found": Evidence._found,  # noqa: SLF001 - the same
        "candidate.refused": Evidence._asked,  # noqa: SLF001 - the same
        "candidate.deferred": Evidence._asked,  # noqa: SLF001 - the same
        "manifest.verified": Evidence._verifies,  # noqa: SLF001 - the same
        "fetch.started": Evidence._fetching,  # noqa: SLF001 - the same
        "fetch.progress": Evidence._fetching,  # noqa: SLF001 - the same
        "fetch.done": Evidence._fetching,  # noqa: SLF001 - the same
        "kernel.inspected": Evidence._inspected,  # noqa: SLF001 - the same
        "kexec.failed": Evidence._refuses,  # noqa: SLF001 - the same
        "kexec.loaded": Evidence._loads,  # noqa: SLF001 - the same
        "kexec.jump": Evidence._jumps,  # noqa: SLF001 - the same
        "loader.staged": Evidence._starts,  # noqa: SLF001 - the same
    }
)
