"""The lines of a batch's file. Errors name their line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec
from django.conf import settings

from chat.runs.reading.encodings import encoding_by_first_bytes, refuse_packed
from chat.runs.reading.jsonl import Object, decode_objects
from chat.runs.reading.records import MAX_KEY_CHARS, FileError, ParsedRow, invalid

_METHOD = "POST"
#: Key of a row's payload with the body, which stays a text: PostgreSQL would sort its fields, and
#: those of a schema are to be answered in their order.
BODY = "body"


class LineReader:
    """Checks the lines of one file. `model` is that of its first valid line."""

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint
        self.model: str | None = None

    def read(self, pieces: Iterable[bytes]) -> Iterator[ParsedRow]:
        """Give each line, or what is wrong with it. Raises FileError."""
        limit: int = settings.BATCH_MAX_LINES
        found = decode_objects(_unpacked(pieces), "utf-8", settings.RUN_MAX_ROW_BYTES)
        for place, (number, fields) in enumerate(found, 1):
            if place > limit:
                message = f"A batch has at most {limit} lines."
                raise FileError("too_many_tasks", message, line=number)
            yield fields if isinstance(fields, ParsedRow) else self._checked(number, fields)

    def _checked(self, number: int, fields: Object) -> ParsedRow:
        key = fields.get("custom_id")
        if key is None:
            return _missing(number, "custom_id")
        if not isinstance(key, str) or not 1 <= len(key) <= MAX_KEY_CHARS:
            message = f"custom_id is a text of 1 to {MAX_KEY_CHARS} characters."
            return invalid(number, "invalid_custom_id", message, param="custom_id")
        if (wrong := self._wrong(number, fields)) is not None:
            return wrong
        body = msgspec.json.encode(fields[BODY]).decode()
        return ParsedRow(number, key, msgspec.json.encode({BODY: body}))

    def _wrong(self, number: int, fields: Object) -> ParsedRow | None:
        for name in ("method", "url", BODY):
            if fields.get(name) is None:
                return _missing(number, name)
        if fields["method"] != _METHOD:
            return invalid(number, "invalid_method", "The method is POST.", param="method")
        if fields["url"] != self._endpoint:
            message = f"The url is the batch's endpoint, {self._endpoint}."
            return invalid(number, "invalid_url", message, param="url")
        body = fields[BODY]
        if not isinstance(body, dict):
            return invalid(number, "invalid_request", "The body is a JSON object.", param=BODY)
        return self._wrong_model(number, body)

    def _wrong_model(self, number: int, body: Object) -> ParsedRow | None:
        model = body.get("model")
        if model is None:
            return _missing(number, "body.model")
        if not isinstance(model, str) or not model:
            message = "The model is the name of one."
            return invalid(number, "invalid_model", message, param="body.model")
        self.model = self.model or model
        if model != self.model:
            message = f"All lines name one model; the first names {self.model[:100]!r}."
            return invalid(number, "mismatched_model", message, param="body.model")
        return None


def _unpacked(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The pieces. Raises FileError for an archive, and for UTF-16, which is UTF-8 with zeros where
    it has no mark."""
    for place, piece in enumerate(pieces):
        if not place:
            refuse_packed(piece)
            if (encoding := encoding_by_first_bytes(piece)) not in (None, "utf-8"):
                message = f"This is text in {str(encoding).upper()}. Send it in UTF-8."
                params = {"encoding": "UTF-8"}
                raise FileError("invalid_encoding", message, line=1, params=params)
        yield piece


def _missing(number: int, param: str) -> ParsedRow:
    message = f"Missing required parameter: {param}."
    return invalid(number, "missing_required_parameter", message, param=param)
