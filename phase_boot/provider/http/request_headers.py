"""Reads what the headers of a request ask for: conditions (RFC 9110, section 13) and a record."""

from __future__ import annotations

from aiohttp import web

from phase_boot.provider.gateway.record_format import wants_record


def asks_for_record(request: web.BaseRequest) -> bool:
    """Return whether a request for an IPNS name asks for its record."""
    return wants_record(request.rel_url.query, request.headers.get("Accept", ""))


def if_none_match(request: web.BaseRequest) -> tuple[str, ...]:
    """Return the entity tags of If-None-Match, in quotes; ``*`` has none."""
    return tuple(
        tag.value if tag.value == "*" else f'"{tag.value}"' for tag in request.if_none_match or ()
    )


def etag_matches(request: web.BaseRequest, etag: str) -> bool:
    """Return whether the client has the bytes of ``etag`` already."""
    known = if_none_match(request)
    return "*" in known or etag in known


def range_header(request: web.BaseRequest, etag: str) -> str:
    """Return the Range header, or nothing where the client holds a part of other bytes."""
    if request.headers.get("If-Range", etag) != etag:
        return ""
    return request.headers.get("Range", "")
