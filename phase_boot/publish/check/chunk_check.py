"""Check the chunk list of an artifact in a SITE against the bytes of the artifact."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from phase_boot.console.progress import Report, unreported
from phase_boot.content.artifact import Artifact
from phase_boot.content.cid import Cid
from phase_boot.content.dag_index import read_chunk_list
from phase_boot.content.digest import Digest
from phase_boot.content.leaf_level import IndexMismatch, InvalidDag
from phase_boot.store.layout import dag_path, entry_path
from phase_boot.trust.manifest import Manifest
from phase_boot.trust.refusals import Refusal
from phase_boot.trust.strict_json import MAX_BYTES, read_document


def index_fault(
    root: Path,
    artifact: Artifact,
    dag: Cid,
    *,
    sizes: range | None = None,
    report: Report = unreported,
) -> str | None:
    """Return why ``dag`` is not the chunk list of an artifact in the SITE, in a few words, or None.

    Args:
        root: the SITE.
        artifact: an artifact whose entry has the right size.
        dag: the root of the DAG.
        sizes: the permitted chunk sizes in bytes; the last chunk may be smaller.
        report: called with the number of compared bytes.

    Raises:
        OSError: the artifact cannot be read.
    """
    try:
        chunks = read_chunk_list(dag, artifact.size, partial(_read_range, root / dag_path(dag)))
    except FileNotFoundError:
        return f"has no {dag_path(dag)}"
    except (InvalidDag, IndexMismatch) as error:
        return f"has an invalid chunk list ({error.reason})"
    with (root / entry_path(artifact.digest)).open("rb") as file:
        for chunk in chunks:
            end = chunk.offset + chunk.size
            last = end == artifact.size
            least = 1 if last or sizes is None else sizes[0]
            if sizes is not None and not least <= chunk.size <= sizes[-1]:
                return f"has a chunk of {chunk.size} bytes, from byte {chunk.offset} on"
            if hashlib.sha256(file.read(chunk.size)).digest() != chunk.digest:
                return f"differs from the chunk list {dag} from byte {chunk.offset} on"
            report(f"{artifact.name}: check", end, artifact.size)
    return None


def named_dags(root: Path, digest: Digest) -> Iterator[Cid]:
    """Yield each DAG that a manifest or draft in the SITE names for the file with this sha256.

    No signature is checked, so check each DAG with `index_fault`.
    """
    found = set()
    for path in sorted(root.glob("*/*/manifest*.json")):
        try:
            with path.open("rb") as file:
                manifest = Manifest.of(read_document(file.read(MAX_BYTES + 1)))
        except (OSError, Refusal):
            continue
        for name, artifact in manifest.artifacts.items():
            dag = manifest.dags.get(name)
            if artifact.digest == digest and dag is not None:
                found.add(dag)
    yield from sorted(found, key=str)


def _read_range(path: Path, offset: int, length: int) -> bytes:
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(length)
