"""Judging what a SITE says about the chunks of an artifact."""

from __future__ import annotations

import hashlib
from pathlib import Path

from phase_boot.store.cid import Cid
from phase_boot.store.layout import dag_path, entry_path
from phase_boot.store.lowest import UnusableDag, WrongIndex
from phase_boot.store.outline import Outline
from phase_boot.trust.manifest import Artifact


def index_fault(root: Path, artifact: Artifact, dag: Cid) -> str | None:
    """Say in a few words why ``dag`` is not the chunks of an artifact in the SITE, or None.

    Raises:
        OSError: the artifact cannot be read.
    """
    try:
        outline = Outline(dag, artifact.size)
        if not outline.complete:
            _read(outline, root / dag_path(dag))
    except FileNotFoundError:
        return f"has no {dag_path(dag)}"
    except (UnusableDag, WrongIndex) as error:
        return f"has an unusable list of chunks ({error.reason})"
    with (root / entry_path(artifact.digest)).open("rb") as file:
        for chunk in outline.chunks():
            if hashlib.sha256(file.read(chunk.size)).digest() != chunk.digest:
                return f"has other chunks than {dag} says, from byte {chunk.offset} on"
    return None


def _read(outline: Outline, path: Path) -> None:
    with path.open("rb") as file:
        while not outline.complete:
            for part in outline.wanted():
                file.seek(part.offset)
                outline.take(part.offset, file.read(part.length))
