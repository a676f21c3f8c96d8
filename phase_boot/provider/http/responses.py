"""Whole responses of a provider, and what its log says of a request. Uses aiohttp."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from aiohttp import web

COMMON_HEADERS: Final = {"Server": "phase-boot", "X-Content-Type-Options": "nosniff"}


@dataclass(slots=True)
class RequestStats:
    """Outcome of a request so far, for its log line, and the headers of any response to it."""

    headers: Mapping[str, str] = field(default_factory=lambda: COMMON_HEADERS)
    status: int = 0
    sent: int = 0
    error: str | None = None


def text_response(stats: RequestStats, status: int, text: str, **headers: str) -> web.Response:
    """Return a sentence as the response."""
    stats.status = status
    stats.sent = len(text)
    return web.Response(status=status, text=text, headers={**stats.headers, **headers})


def json_response(stats: RequestStats, status: int, body: object) -> web.Response:
    """Return a JSON document as the response."""
    response = text_response(stats, status, json.dumps(body) + "\n")
    response.content_type = "application/json"
    return response
