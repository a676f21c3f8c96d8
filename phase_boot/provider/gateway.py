"""What ``/ipfs/<cid>`` is answered with: the trustless-gateway specification, for files.

No HTTP library is known here: a request is a path, its parameters and two headers, and a reply says
what is to be sent. What a client gets it can check by the CID it asked for.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from phase_boot.content import car, dag_pb
from phase_boot.content.cid import Cid, Codec
from phase_boot.provider.blocks import Blocks, Dag, Gone, Span
from phase_boot.provider.files import CAR_TYPE, IMMUTABLE

PREFIX: Final = "ipfs/"
RAW_TYPE: Final = "application/vnd.ipld.raw"
NOTHING: Final = "bafkqaaa"
"""The CID of no bytes, which holds them itself: clients ask for it to see whether this answers."""
MAX_ACCEPT: Final = 1024

OK: Final = 200
NOT_MODIFIED: Final = 304
BAD: Final = 400
NOT_FOUND: Final = 404
NOT_ACCEPTABLE: Final = 406
PRECONDITION: Final = 412

_FILE: Final = re.compile(r"[A-Za-z0-9._-]{1,128}")
_BYTES: Final = re.compile(r"(-?[0-9]{1,16}):(-?[0-9]{1,16}|\*)")
# Whatever may be a CID of another kind, which nobody has here.
_OTHER: Final = re.compile(r"(Qm[1-9A-HJ-NP-Za-km-z]{44}|[bzkfuUFBK][A-Za-z0-9_=-]{7,255})")


@dataclass(frozen=True, slots=True)
class Reply:
    """What to answer: a sentence, one block, or a stream of pieces."""

    status: int
    text: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    pieces: Iterator[bytes] | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """A request for something below ``/ipfs/``."""

    path: str
    """Without the prefix."""
    query: Mapping[str, str]
    accept: str = ""
    known: tuple[str, ...] = ()
    """The entity tags of If-None-Match, in quotes."""
    cached_only: bool = False


@dataclass(frozen=True, slots=True)
class _Wanted:
    """The form in which something is wanted."""

    kind: str
    parameters: Mapping[str, str]


class _Refused(Exception):
    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.reply = Reply(status, text)


class Gateway:
    """Answers for blocks. Its method blocks."""

    def __init__(self, blocks: Blocks) -> None:
        """Take the blocks that can be had."""
        self._blocks = blocks

    def reply(self, asked: Asked) -> Reply:
        """Return the answer; a stream reads its blocks as it is sent."""
        try:
            wanted = _wanted(asked)
            name, _, below = asked.path.partition("/")
            if name == NOTHING and wanted.kind == RAW_TYPE and not below:
                return _block(asked, name, b"")
            cid = _cid(name)
            if below:
                return Reply(NOT_FOUND, "There are only files here, and nothing is below one.")
            if wanted.kind == RAW_TYPE:
                return self._raw(asked, cid)
            return self._car(asked, cid, wanted.parameters)
        except _Refused as refused:
            return refused.reply

    def _raw(self, asked: Asked, cid: Cid) -> Reply:
        found = self._blocks.find(cid)
        try:
            data = self._blocks.manifest(cid) if found is None else self._blocks.read(found, cid)
        except Gone:
            data = None
        if data is None:
            raise _absent(asked)
        return _block(asked, str(cid), data)

    def _car(self, asked: Asked, cid: Cid, parameters: Mapping[str, str]) -> Reply:
        dups = _one_of(parameters, "dups", "y", "n") == "y"
        _one_of(parameters, "order", "dfs", "unk")
        _one_of(parameters, "version", "1")
        scope = _one_of({"dag-scope": "all", **asked.query}, "dag-scope", "all", "entity", "block")
        bounds = asked.query.get("entity-bytes")
        found = self._blocks.find(cid)
        if found is None:
            raise _absent(asked)
        span = None if bounds is None else _span(bounds, _size(found, cid))
        form = f"{dups} {scope} {bounds}"
        etag = f'"{cid}.car.{hashlib.sha256(form.encode()).hexdigest()[:8]}"'
        headers = {
            **_headers(asked, str(cid), ".car"),
            "Accept-Ranges": "none",
            "Content-Type": f"{CAR_TYPE}; version=1; order=dfs; dups={'y' if dups else 'n'}",
            "ETag": f"W/{etag}",
        }
        if _is_known(asked, etag):
            return Reply(NOT_MODIFIED, headers=headers)
        if scope == "block":
            span = None
        content = self._blocks.walk(found, cid, span=span, dups=dups)
        count = 1 if scope == "block" else None
        pieces = car.write(cid, itertools.islice(content, count))
        return Reply(OK, headers=headers, pieces=pieces)


def _block(asked: Asked, name: str, data: bytes) -> Reply:
    etag = f'"{name}.raw"'
    headers = {**_headers(asked, name, ".bin"), "Content-Type": RAW_TYPE, "ETag": etag}
    if _is_known(asked, etag):
        return Reply(NOT_MODIFIED, headers=headers)
    return Reply(OK, headers=headers, body=data)


def _headers(asked: Asked, name: str, ending: str) -> dict[str, str]:
    given = asked.query.get("filename", "")
    file = given if _FILE.fullmatch(given) else f"{name}{ending}"
    return {
        "Cache-Control": IMMUTABLE,
        "Content-Disposition": f'attachment; filename="{file}"',
        "X-Content-Type-Options": "nosniff",
        "X-Ipfs-Path": f"/{PREFIX}{name}",
        "X-Ipfs-Roots": name,
        "Vary": "Accept",
    }


def _wanted(asked: Asked) -> _Wanted:
    """Return the form that is asked for: by parameter, or else by the Accept header."""
    offered = {"raw": RAW_TYPE, "car": CAR_TYPE}
    given = {
        name: asked.query[f"car-{name}"]
        for name in ("version", "order", "dups")
        if f"car-{name}" in asked.query
    }
    accepted = dict(_accepted(asked.accept[:MAX_ACCEPT]))
    form = asked.query.get("format")
    if form is not None:
        if form not in offered:
            raise _Refused(NOT_ACCEPTABLE, "Only the formats raw and car are answered with.")
        return _Wanted(offered[form], {**accepted.get(offered[form], {}), **given})
    for kind, parameters in accepted.items():
        if kind in offered.values():
            return _Wanted(kind, {**parameters, **given})
    raise _Refused(NOT_ACCEPTABLE, f"Ask for {RAW_TYPE} or {CAR_TYPE}: nothing else is here.")


def _accepted(header: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield each accepted type with its parameters, the most wanted first."""
    found = []
    for part in header.split(","):
        kind, *rest = (word.strip() for word in part.split(";"))
        pairs = (word.partition("=") for word in rest)
        parameters = {name.strip().lower(): value.strip().strip('"') for name, _, value in pairs}
        try:
            weight = float(parameters.pop("q", "1"))
        except ValueError:
            continue
        if weight > 0:
            found.append((weight, kind.lower(), parameters))
    for _, kind, parameters in sorted(found, key=lambda each: -each[0]):
        yield kind, parameters


def _cid(name: str) -> Cid:
    try:
        return Cid.parse(name)
    except ValueError as error:
        if _OTHER.fullmatch(name) and not name.startswith("b"):
            raise _Refused(NOT_FOUND, "No block has such a CID here.") from None
        raise _Refused(BAD, f"Not a CID: {error}.") from None


def _absent(asked: Asked) -> _Refused:
    status = PRECONDITION if asked.cached_only else NOT_FOUND
    return _Refused(status, "There is no such block here.")


def _one_of(parameters: Mapping[str, str], name: str, *values: str) -> str:
    """Return a parameter, the first value if it is not given, or refuse it."""
    value = parameters.get(name, values[0])
    if value not in values:
        raise _Refused(BAD, f"{name} may be {' or '.join(values)} here.")
    return value


def _span(bounds: str, size: int) -> Span:
    """Return the bytes that ``entity-bytes`` names; both ends may be counted from the end."""
    read = _BYTES.fullmatch(bounds)
    if read is None:
        raise _Refused(BAD, "entity-bytes is from:to, with whole numbers, or * at its end.")
    first = int(read[1])
    last = size - 1 if read[2] == "*" else int(read[2])
    start = max(size + first, 0) if first < 0 else first
    end = (size + last if last < 0 else min(last, size - 1)) + 1
    if 0 <= last < first and read[2] != "*":
        raise _Refused(BAD, "entity-bytes ends before it begins.")
    return Span(start, max(start, end))


def _size(found: Dag, cid: Cid) -> int:
    if cid.codec is Codec.DAG_PB:
        return dag_pb.read(found.nodes[cid], cid.codec).size
    number = found.table.find(bytes.fromhex(cid.digest.hex))
    return 0 if number is None else found.chunks.chunk(number).size


def _is_known(asked: Asked, etag: str) -> bool:
    return "*" in asked.known or etag in asked.known
