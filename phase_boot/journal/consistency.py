"""Checks that the events of a run agree: versions, hashes, sizes, methods and the command line.

The rules hold for the handlers of this package, and for plugins that emit the same events. Without
the manifest, a field that no other event repeats cannot be checked; docs/adr/0002-machine.md lists
these fields.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

from phase_boot.content.version import Version
from phase_boot.journal.journal import MAX_TEXT
from phase_boot.machine.graph import State
from phase_boot.trust.manifest import REQUIRED, Manifest

ParsedRecord = Mapping[str, Any]
UKI: Final = "uki"
_WORD: Final = re.compile(r"(?:^| )phase\.(mode|version|rootfs)=(\S*)")


class Contradiction(Exception):
    """An event contradicts another event or the manifest; the text says how."""


class ConsistencyCheck:
    """The facts of one run, from the events read so far."""

    def __init__(self, manifest: Manifest | None = None, *, partial: bool = False) -> None:
        """Begin a run.

        Args:
            manifest: the manifest that was verified last, if the caller has it.
            partial: whether the first events of the run are missing.
        """
        self._manifest = manifest
        self._partial = partial
        self._arch: str | None = None
        self._mode: str | None = None
        self._root: tuple[int, int] | None = None
        self._floor: Version | None = None
        self._persistent: bool | None = None
        self._urls: set[str] = set()
        self._verified: ParsedRecord | None = None
        self._sizes: dict[str, int] = {}
        self._digests: dict[str, str] = {}
        self.sources: dict[str, str] = {}
        """The source of each fetched artifact of the verified manifest."""
        self._first: str | None = None
        self._loaded: str | None = None
        self._refused: set[str] = set()

    @property
    def verified(self) -> ParsedRecord | None:
        """The last `manifest.verified`, or None."""
        return self._verified

    @property
    def mode(self) -> str | None:
        """The mode in which the run started."""
        return self._mode

    def add(self, record: ParsedRecord, state: State | None) -> None:
        """Check an event against the earlier ones and keep its facts.

        ``state`` is the state whose handler emitted the event, or None.

        Raises:
            Contradiction: the event contradicts an earlier one.
        """
        name = record.get("artifact", UKI)
        if state is State.FETCH and name not in {*REQUIRED, UKI}:
            raise Contradiction(f"{name!r:.100} is no artifact that a boot fetches")
        rule = _RULES.get(str(record["event"]))
        if rule is not None:
            rule(self, record, state)

    def check_against_manifest(self) -> None:
        """Compare the last `manifest.verified` and the artifacts with the given manifest.

        Raises:
            Contradiction: they differ.
        """
        signed, verified = self._manifest, self._verified
        if signed is None or verified is None:
            return
        for field in ("version", "channel", "arch"):
            _agree(
                f"the verified {field}", verified[field], str(getattr(signed, field)), "manifest"
            )
        for name, digest in self._digests.items():
            artifact = signed.artifacts.get(name)
            if artifact is None:
                raise Contradiction(f"{name} was fetched, and the manifest names none")
            _agree(f"the sha256 of {name}", digest, artifact.digest.hex, "manifest")
        for name, size in self._sizes.items():
            if (artifact := signed.artifacts.get(name)) is not None:
                _agree(f"the size of {name}", size, artifact.size, "manifest")

    def _stage_reached(self, record: ParsedRecord, _state: State | None) -> None:
        if record["reached"] > record["at"]:
            raise Contradiction(f"the stage {record['name']!r:.100} lies ahead")

    def _run_started(self, record: ParsedRecord, _state: State | None) -> None:
        if self._arch is not None:
            _agree("the architecture", record["arch"], self._arch, "start of this run")
        self._arch, self._mode = record["arch"], record["mode"]

    def _store_opened(self, record: ParsedRecord, _state: State | None) -> None:
        self._persistent = record["persistent"]

    def _trust_recalled(self, record: ParsedRecord, _state: State | None) -> None:
        root, seen = record["root"], record["seen"]
        if self._persistent is not None:
            _agree("kept", record["kept"], self._persistent, "store.opened before it")
        self._root = None if root is None else (root, root)
        self._floor = None if seen is None else Version.parse(seen)

    def _root_followed(self, record: ParsedRecord, _state: State | None) -> None:
        # A root that replaces a publisher's key invalidates its manifests, and may lower the floor.
        self._floor = None if record["seen"] is None else Version.parse(record["seen"])
        if self._root is None:
            self._root = (record["version"] - 1, record["version"])
            return
        known, newest = self._root
        if not known < record["version"] <= newest + 1:
            raise Contradiction(f"root {record['version']} does not follow root {newest}")
        self._root = (known, max(newest, record["version"]))

    def _candidate_found(self, record: ParsedRecord, _state: State | None) -> None:
        self._urls.add(record["url"])

    def _candidate_judged(self, record: ParsedRecord, state: State | None) -> None:
        """Require that Discover found the URL of a candidate that is refused or deferred."""
        known = self._partial or record["url"] in self._urls
        if state is not None and not known:
            raise Contradiction(f"no candidate was found at {record['url']!r:.200}")

    def _manifest_verified(self, record: ParsedRecord, state: State | None) -> None:
        self._candidate_judged(record, state)
        if self._arch is not None:
            _agree("the verified architecture", record["arch"], self._arch, "start of this run")
        if not record["keys"] or len(set(record["keys"])) != len(record["keys"]):
            raise Contradiction("a manifest is verified by one key or more, each once")
        if self._floor is not None and Version.parse(record["version"]) < self._floor:
            raise Contradiction(f"version {record['version']} is below the {self._floor} seen")
        if self._verified is None or self._verified["version"] != record["version"]:
            self._sizes, self._digests, self.sources = {}, {}, {}
        self._verified = record

    def _artifact_fetched(self, record: ParsedRecord, _state: State | None) -> None:
        name, size = record["artifact"], record["size"]
        self._require_manifest(f"{name} is fetched")
        _agree(f"the size of {name}", size, self._sizes.setdefault(name, size), "events before it")
        at = record.get("offset", record.get("done", 0))
        if at > size:
            raise Contradiction(f"{at} of {size} bytes of {name}")
        if "sha256" in record:
            digest = self._digests.setdefault(name, record["sha256"])
            _agree(f"the sha256 of {name}", record["sha256"], digest, "events before it")
            self.sources[name] = record["source"]

    def _kernel_inspected(self, record: ParsedRecord, _state: State | None) -> None:
        if self._verified is not None:
            _agree("the kernel's architecture", record["arch"], self._verified["arch"], "manifest")
        self._first, self._loaded, self._refused = (
            record["first"],
            None,
            set(),
        )

    def _kexec_failed(self, record: ParsedRecord, _state: State | None) -> None:
        self._check_method(record["method"])
        self._refused.add(record["method"])

    def _check_method(self, method: str) -> None:
        if self._first is not None and not self._refused and method != self._first:
            raise Contradiction(f"{method} is tried, and {self._first} was to be the first")
        if method in self._refused:
            raise Contradiction(f"{method} is tried again, which the kernel had refused")

    def _kexec_loaded(self, record: ParsedRecord, _state: State | None) -> None:
        self._check_method(record["method"])
        self._loaded = record["method"]
        cmdline = record["cmdline"]
        if len(cmdline) == MAX_TEXT:
            # The journal cut it, and the hand-over appends its words at the end.
            return
        words = dict(_WORD.findall(cmdline))
        self._require_manifest("a kernel is loaded")
        if self._verified is not None:
            _agree("phase.version", words.get("version"), self._verified["version"], "manifest")
        if self._mode is not None:
            _agree("phase.mode", words.get("mode"), self._mode, "start of this run")
        if (digest := self._digests.get("rootfs")) is not None:
            _agree("phase.rootfs", words.get("rootfs"), f"sha256:{digest}", "rootfs fetched")

    def _kexec_jumped(self, record: ParsedRecord, _state: State | None) -> None:
        if self._loaded is None and not self._partial:
            raise Contradiction("a jump into a kernel that was not loaded")
        self._version_started(record, _state)

    def _version_started(self, record: ParsedRecord, _state: State | None) -> None:
        self._require_manifest(f"{record['version']} is started")
        if self._verified is not None:
            wanted = self._verified["version"]
            _agree("the version started", record["version"], wanted, "manifest verified")

    def _require_manifest(self, what: str) -> None:
        if self._verified is None and not self._partial:
            raise Contradiction(f"{what}, and no manifest was verified")


def _agree(what: str, one: object, other: object, where: str) -> None:
    if one != other:
        raise Contradiction(f"{what} is {one!s:.200}, and {other!s:.200} in the {where}")


_Rule = Callable[[ConsistencyCheck, ParsedRecord, State | None], None]
_RULES: Final[Mapping[str, _Rule]] = MappingProxyType(
    {
        "stage": ConsistencyCheck._stage_reached,  # noqa: SLF001 - the table of this class's own rules
        "run.started": ConsistencyCheck._run_started,  # noqa: SLF001 - the same
        "store.opened": ConsistencyCheck._store_opened,  # noqa: SLF001 - the same
        "trust.recalled": ConsistencyCheck._trust_recalled,  # noqa: SLF001 - the same
        "root.followed": ConsistencyCheck._root_followed,  # noqa: SLF001 - the same
        "candidate.found": ConsistencyCheck._candidate_found,  # noqa: SLF001 - the same
        "candidate.refused": ConsistencyCheck._candidate_judged,  # noqa: SLF001 - the same
        "candidate.deferred": ConsistencyCheck._candidate_judged,  # noqa: SLF001 - the same
        "manifest.verified": ConsistencyCheck._manifest_verified,  # noqa: SLF001 - the same
        "fetch.started": ConsistencyCheck._artifact_fetched,  # noqa: SLF001 - the same
        "fetch.progress": ConsistencyCheck._artifact_fetched,  # noqa: SLF001 - the same
        "fetch.done": ConsistencyCheck._artifact_fetched,  # noqa: SLF001 - the same
        "kernel.inspected": ConsistencyCheck._kernel_inspected,  # noqa: SLF001 - the same
        "kexec.failed": ConsistencyCheck._kexec_failed,  # noqa: SLF001 - the same
        "kexec.loaded": ConsistencyCheck._kexec_loaded,  # noqa: SLF001 - the same
        "kexec.jump": ConsistencyCheck._kexec_jumped,  # noqa: SLF001 - the same
        "loader.staged": ConsistencyCheck._version_started,  # noqa: SLF001 - the same
    }
)
