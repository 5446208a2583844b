"""Rows of a JSONL file: each line is a JSON object."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import cast

import msgspec
from pydantic import JsonValue

from aily.problems import InvalidRequest
from aily.rest.json_input import decode_json
from chat.runs.reading.encodings import Encoding, decode_lines
from chat.runs.reading.records import MAX_KEY_CHARS, ParsedRow, invalid

Object = dict[str, JsonValue]
#: Names of the field that has the caller's own name for a line.
KEY_FIELDS = ("custom_id", "key")


def decode_objects(
    pieces: Iterable[bytes], encoding: Encoding, max_row_bytes: int
) -> Iterator[tuple[int, Object | ParsedRow]]:
    """Give each line's number and its object, or what is wrong with it. Empty lines are left out.

    Raises FileError.
    """
    for number, line in decode_lines(pieces, encoding, max_row_bytes):
        if line is None:
            message = f"This has more than {max_row_bytes} bytes."
            params = {"limit": max_row_bytes}
            yield number, invalid(number, "row_too_large", message, params=params)
        elif line.strip():
            yield number, _decoded(number, line)


def _decoded(number: int, line: str) -> Object | ParsedRow:
    try:
        value = decode_json(line.strip())
    except InvalidRequest as problem:
        return invalid(number, "invalid_json", problem.message, param=problem.field)
    if not isinstance(value, dict):
        return invalid(number, "invalid_json", "This is no JSON object.")
    return cast("Object", value)


def take_key(number: int, fields: Object) -> tuple[str, Object] | ParsedRow:
    """The caller's own name for a line, and its other fields; or what is wrong with the name."""
    for name in KEY_FIELDS:
        if name in fields:
            key = fields[name]
            if not isinstance(key, str) or not 1 <= len(key) <= MAX_KEY_CHARS:
                message = f"This is a text of 1 to {MAX_KEY_CHARS} characters."
                params = {"limit": MAX_KEY_CHARS}
                return invalid(number, "invalid_key", message, param=name, params=params)
            return key, {other: value for other, value in fields.items() if other != name}
    return "", fields


def encode_row(number: int, key: str, fields: Object) -> ParsedRow:
    return ParsedRow(number, key, msgspec.json.encode(fields))
