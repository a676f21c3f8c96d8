"""Strict JSON parser and canonical serializer (RFC 8785).

It refuses every input that two parsers could read differently: a name twice, numbers beyond the
exact range of a double, text that is not normalized. So the document that is used is the one that
was signed.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Final, NoReturn

import rfc8785

from phase_boot.trust.refusals import (
    BadText,
    DuplicateKey,
    NotANumber,
    NotJson,
    TooDeep,
    TooLarge,
)

MAX_BYTES: Final = 64 * 1024
"""Bytes of the largest manifest or root."""
MAX_DEPTH: Final = 16
"""Levels of nested objects and lists."""
MAX_STRING: Final = 4096
"""Characters of the longest string."""
MAX_INTEGER: Final = 2**53 - 1
"""The largest integer that every JSON parser reads exactly (RFC 8785)."""

# A string, even an unterminated one, or a bracket: it can never match one byte twice.
_TOKEN: Final = re.compile(rb'"(?:[^"\\]+|\\.?)*+"?|[\[\]{}]', re.DOTALL)


def read_document(
    raw: bytes, *, limit: int = MAX_BYTES, depth: int = MAX_DEPTH
) -> dict[str, object]:
    """Return the JSON object in ``raw``.

    Raises:
        Refusal: more than ``limit`` bytes, not UTF-8 JSON, deeper than ``depth`` levels, a key
            twice, a number that is no integer below 2^53, or a string that is too long or not NFC.
    """
    if len(raw) > limit:
        raise TooLarge(limit=limit)
    check_depth(raw, depth)
    try:
        document = json.loads(
            raw.decode(),
            object_pairs_hook=_object,
            parse_float=_refuse_number,
            parse_constant=_refuse_number,
            parse_int=_integer,
        )
    except UnicodeDecodeError:
        raise NotJson(reason="not UTF-8") from None
    except json.JSONDecodeError as error:
        raise NotJson(reason=f"{error.msg} at character {error.pos}") from None
    if not isinstance(document, dict):
        raise NotJson(reason="no object")
    _check_text(document)
    return document


def canonical(document: Mapping[str, object]) -> bytes:
    """Return the canonical form (RFC 8785) of a document that `read_document` returned."""
    # The strict parser returns only types that rfc8785 accepts.
    return rfc8785.dumps(dict(document))  # type: ignore[arg-type]


def check_depth(raw: bytes, limit: int) -> None:
    """Raise TooDeep if objects and lists in ``raw`` are nested deeper than ``limit``."""
    depth = 0
    for token in _TOKEN.finditer(raw):
        match token[0]:
            case b"{" | b"[":
                depth += 1
                if depth > limit:
                    raise TooDeep(limit=limit)
            case b"}" | b"]":
                depth -= 1


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found: dict[str, object] = {}
    for name, value in pairs:
        if name in found:
            raise DuplicateKey(name=name)
        found[name] = value
    return found


def _refuse_number(text: str) -> NoReturn:
    raise NotANumber(number=text)


def _integer(text: str) -> int:
    # Sixteen digits and a sign hold every allowed integer; longer ones are never converted.
    if len(text) > len(str(-MAX_INTEGER)) or text == "-0" or abs(int(text)) > MAX_INTEGER:
        raise NotANumber(number=text)
    return int(text)


def _check_text(value: object) -> None:
    if isinstance(value, str):
        _check_string(value)
    elif isinstance(value, dict):
        _check_all(value)
        _check_all(value.values())
    elif isinstance(value, list):
        _check_all(value)


def _check_all(values: Iterable[object]) -> None:
    for value in values:
        _check_text(value)


def _check_string(text: str) -> None:
    if len(text) > MAX_STRING:
        raise BadText(text=text, reason=f"longer than {MAX_STRING} characters")
    if text.isascii():
        return
    if any("\ud800" <= char <= "\udfff" for char in text):
        raise BadText(text=text, reason="half a surrogate pair")
    if not unicodedata.is_normalized("NFC", text):
        raise BadText(text=text, reason="not in Unicode's NFC form")
