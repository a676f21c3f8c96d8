"""The list of machine models on which kexec failed, kept on Cache for one build of the seed.

The list is an untrusted hint: it decides which of two boot methods is tried first, and both start
only verified images.
"""

from __future__ import annotations

import json
from typing import Final

from phase_boot.ports.platform import Facts
from phase_boot.ports.state_files import StateFiles
from phase_boot.store.errors import StoreError
from phase_boot.trust.refusals import Refusal
from phase_boot.trust.strict_json import check_depth

PAGE: Final = "models.json"
MAX_MODELS: Final = 32
MAX_NAME: Final = 128
MAX_BYTES: Final = 16 * 1024


def kexec_failed_before(state_files: StateFiles, facts: Facts) -> bool:
    """Return whether a boot of this build recorded that kexec fails on this model."""
    return bool(facts.model) and _key(facts) in _read(state_files)


def remember_failure(state_files: StateFiles, facts: Facts) -> None:
    """Record that kexec fails on this model; the latest `MAX_MODELS` records are kept.

    Raises:
        StoreError: the disk failed.
    """
    if not facts.model:
        return
    # A new build may have a kernel that works, so that records of older builds do not count.
    kept = [key for key in _read(state_files) if key[0] == _built(facts) and key != _key(facts)]
    newest = [*kept, _key(facts)][-MAX_MODELS:]
    state_files.write(PAGE, json.dumps(newest, ensure_ascii=True).encode("ascii"))


def _key(facts: Facts) -> tuple[str, str]:
    return _built(facts), (facts.model or "")[:MAX_NAME]


def _built(facts: Facts) -> str:
    return facts.built.isoformat(timespec="seconds")


def _read(state_files: StateFiles) -> list[tuple[str, str]]:
    """Return the recorded models; entries in another format are ignored."""
    try:
        raw = state_files.read(PAGE, limit=MAX_BYTES) or b"[]"
        check_depth(raw, 2)
        entries = json.loads(raw) if len(raw) <= MAX_BYTES else []
    except (StoreError, Refusal, ValueError):
        return []
    if not isinstance(entries, list):
        return []
    return [(each[0], each[1]) for each in entries[-MAX_MODELS:] if _is_key(each)]


def _is_key(entry: object) -> bool:
    return (
        isinstance(entry, list)
        and len(entry) == 2  # noqa: PLR2004 - build and model
        and all(isinstance(text, str) and len(text) <= MAX_NAME for text in entry)
    )
