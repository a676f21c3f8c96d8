"""Trustless gateway: answers ``/ipfs/<cid>`` for files (IPFS trustless-gateway specification).

This module uses no HTTP library: a request is a path, parameters and headers, and a reply is a
status, headers and a body. The client verifies the body by the CID that it requested.
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
from phase_boot.provider.backends.backend import CAR_TYPE, IMMUTABLE
from phase_boot.provider.gateway.block_index import ArtifactDag, BlockIndex, EntityRange

PREFIX: Final = "ipfs/"
RAW_TYPE: Final = "application/vnd.ipld.raw"
EMPTY_CID: Final = "bafkqaaa"
"""The identity CID of zero bytes; clients request it to probe a gateway."""
MAX_ACCEPT: Final = 1024

OK: Final = 200
NOT_MODIFIED: Final = 304
BAD: Final = 400
NOT_FOUND: Final = 404
NOT_ACCEPTABLE: Final = 406
PRECONDITION: Final = 412

_FILE_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,128}")
_ENTITY_BYTES: Final = re.compile(r"(-?[0-9]{1,16}):(-?[0-9]{1,16}|\*)")
# CIDs of other versions and encodings, which this gateway never has.
_OTHER_CID: Final = re.compile(r"(Qm[1-9A-HJ-NP-Za-km-z]{44}|[bzkfuUFBK][A-Za-z0-9_=-]{7,255})")


@dataclass(frozen=True, slots=True)
class GatewayReply:
    """A response: a sentence, one block, or a stream."""

    status: int
    text: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    pieces: Iterator[bytes] | None = None


@dataclass(frozen=True, slots=True)
class GatewayRequest:
    """A request below ``/ipfs/``."""

    path: str
    """Without the prefix."""
    query: Mapping[str, str]
    accept: str = ""
    if_none_match: tuple[str, ...] = ()
    """The entity tags of If-None-Match, in quotes."""
    only_if_cached: bool = False


@dataclass(frozen=True, slots=True)
class _ResponseFormat:
    """The negotiated media type and its parameters."""

    kind: str
    parameters: Mapping[str, str]


class _Refused(Exception):
    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.reply = GatewayReply(status, text)


class TrustlessGateway:
    """Answers requests for blocks and CARs. Its method blocks."""

    def __init__(self, blocks: BlockIndex) -> None:
        """Take the index of the blocks that are served."""
        self._blocks = blocks

    def reply(self, request: GatewayRequest) -> GatewayReply:
        """Return the reply; a stream reads its blocks while it is sent."""
        try:
            wanted_format = _negotiate(request)
            name, _, rest_of_path = request.path.partition("/")
            if name == EMPTY_CID and wanted_format.kind == RAW_TYPE and not rest_of_path:
                return _block_reply(request, name, b"")
            cid = _parse_cid(name)
            if rest_of_path:
                return GatewayReply(
                    NOT_FOUND, "This gateway serves whole files: a CID has no subpaths."
                )
            if wanted_format.kind == RAW_TYPE:
                return self._raw(request, cid)
            return self._car(request, cid, wanted_format.parameters)
        except _Refused as refused:
            return refused.reply

    def _raw(self, request: GatewayRequest, cid: Cid) -> GatewayReply:
        data = self._blocks.block(cid)
        if data is None:
            raise _not_found(request)
        return _block_reply(request, str(cid), data)

    def _car(
        self, request: GatewayRequest, cid: Cid, parameters: Mapping[str, str]
    ) -> GatewayReply:
        dups = _parameter(parameters, "dups", "y", "n") == "y"
        _parameter(parameters, "order", "dfs", "unk")
        _parameter(parameters, "version", "1")
        scope = _parameter(
            {"dag-scope": "all", **request.query}, "dag-scope", "all", "entity", "block"
        )
        entity_bytes = request.query.get("entity-bytes")
        found = self._blocks.find(cid)
        if found is None:
            raise _not_found(request)
        wanted_range = (
            None if entity_bytes is None else _parse_entity_bytes(entity_bytes, _size(found, cid))
        )
        form = f"{dups} {scope} {entity_bytes}"
        etag = f'"{cid}.car.{hashlib.sha256(form.encode()).hexdigest()[:8]}"'
        headers = {
            **_headers(request, str(cid), ".car"),
            "Accept-Ranges": "none",
            "Content-Type": f"{CAR_TYPE}; version=1; order=dfs; dups={'y' if dups else 'n'}",
            "ETag": f"W/{etag}",
        }
        if _etag_matches(request, etag):
            return GatewayReply(NOT_MODIFIED, headers=headers)
        if scope == "block":
            wanted_range = None
        content = self._blocks.walk(found, cid, wanted_range=wanted_range, dups=dups)
        count = 1 if scope == "block" else None
        pieces = car.write(cid, itertools.islice(content, count))
        return GatewayReply(OK, headers=headers, pieces=pieces)


def _block_reply(request: GatewayRequest, name: str, data: bytes) -> GatewayReply:
    etag = f'"{name}.raw"'
    headers = {**_headers(request, name, ".bin"), "Content-Type": RAW_TYPE, "ETag": etag}
    if _etag_matches(request, etag):
        return GatewayReply(NOT_MODIFIED, headers=headers)
    return GatewayReply(OK, headers=headers, body=data)


def _headers(request: GatewayRequest, name: str, ending: str) -> dict[str, str]:
    given = request.query.get("filename", "")
    file = given if _FILE_NAME.fullmatch(given) else f"{name}{ending}"
    return {
        "Cache-Control": IMMUTABLE,
        "Content-Disposition": f'attachment; filename="{file}"',
        "X-Content-Type-Options": "nosniff",
        "X-Ipfs-Path": f"/{PREFIX}{name}",
        "X-Ipfs-Roots": name,
        "Vary": "Accept",
    }


def _negotiate(request: GatewayRequest) -> _ResponseFormat:
    """Return the response format of the ``format`` parameter, or else of the Accept header."""
    offered = {"raw": RAW_TYPE, "car": CAR_TYPE}
    given = {
        name: request.query[f"car-{name}"]
        for name in ("version", "order", "dups")
        if f"car-{name}" in request.query
    }
    accepted = dict(parse_accept(request.accept))
    form = request.query.get("format")
    if form is not None:
        if form not in offered:
            raise _Refused(NOT_ACCEPTABLE, "The format must be raw or car.")
        return _ResponseFormat(offered[form], {**accepted.get(offered[form], {}), **given})
    for kind, parameters in accepted.items():
        if kind in offered.values():
            return _ResponseFormat(kind, {**parameters, **given})
    raise _Refused(NOT_ACCEPTABLE, f"The Accept header must allow {RAW_TYPE} or {CAR_TYPE}.")


def parse_accept(header: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield each accepted type with its parameters, by descending quality value.

    Only the first `MAX_ACCEPT` characters are read.
    """
    found = []
    for part in header[:MAX_ACCEPT].split(","):
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


def _parse_cid(name: str) -> Cid:
    try:
        return Cid.parse(name)
    except ValueError as error:
        if _OTHER_CID.fullmatch(name) and not name.startswith("b"):
            raise _Refused(NOT_FOUND, "This gateway has no CID of this form.") from None
        raise _Refused(BAD, f"Not a CID: {error}.") from None


def _not_found(request: GatewayRequest) -> _Refused:
    status = PRECONDITION if request.only_if_cached else NOT_FOUND
    return _Refused(status, "This gateway does not have the block.")


def _parameter(parameters: Mapping[str, str], name: str, *values: str) -> str:
    """Return a parameter, defaulting to the first value; refuse any other value."""
    value = parameters.get(name, values[0])
    if value not in values:
        raise _Refused(BAD, f"{name} must be {' or '.join(values)}.")
    return value


def _parse_entity_bytes(entity_bytes: str, size: int) -> EntityRange:
    """Return the range of ``entity-bytes``; negative offsets count from the end."""
    read = _ENTITY_BYTES.fullmatch(entity_bytes)
    if read is None:
        raise _Refused(BAD, "entity-bytes must be FROM:TO in whole numbers; TO may be *.")
    first = int(read[1])
    last = size - 1 if read[2] == "*" else int(read[2])
    start = max(size + first, 0) if first < 0 else first
    end = (size + last if last < 0 else min(last, size - 1)) + 1
    if 0 <= last < first and read[2] != "*":
        raise _Refused(BAD, "entity-bytes ends before it begins.")
    return EntityRange(start, max(start, end))


def _size(found: ArtifactDag, cid: Cid) -> int:
    if cid.codec is Codec.DAG_PB:
        return dag_pb.read(found.nodes[cid], cid.codec).size
    number = found.table.find(bytes.fromhex(cid.digest.hex))
    return 0 if number is None else found.chunks.chunk(number).size


def _etag_matches(request: GatewayRequest, etag: str) -> bool:
    return "*" in request.if_none_match or etag in request.if_none_match
