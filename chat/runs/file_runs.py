"""Runs of files: rows of a CSV or JSONL file, as variables of a scene or as whole requests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal, cast

from django.conf import settings
from pydantic import JsonValue, ValidationError

from aily.problems import InvalidRequest
from chat.exceptions import ModelDisabled, because
from chat.models import Run, RunRow
from chat.models.files import read_pieces
from chat.reasons import Reason
from chat.runs import announcing
from chat.runs.kinds import RunKind
from chat.runs.reading.coercion import coerce
from chat.runs.reading.csv_rows import CSVFile
from chat.runs.reading.encodings import Encoding, detect_encoding
from chat.runs.reading.jsonl import Object, decode_objects, encode_row, take_key
from chat.runs.reading.records import FileError, ParsedRow, invalid
from chat.services.drafts import find_version
from chat.services.submission import CompositeRequest
from chat.services.validation import invalid_request_of

KIND = "run"
Format = Literal["csv", "jsonl"]
#: Fields of objects in JSONL that can be columns.
MAX_FIELDS = 200
#: Fields of a request that make no sense in many at once.
_ALONE = ("conversation_id", "replaces", "webhook")


class FileRuns(RunKind):
    """The kind of the runs under /api/llmchat/runs."""

    name = KIND

    def read_rows(self, run: Run) -> Iterator[ParsedRow]:
        if run.input_file_id is None:
            raise FileError("no_file", "The file of this run is gone.")
        source = run.source
        encoding: Encoding = source.get("encoding") or detect_encoding(
            read_pieces(run.input_file_id)
        )
        source["encoding"] = encoding
        pieces = read_pieces(run.input_file_id)
        if source["format"] == "csv":
            table = CSVFile(
                pieces,
                encoding,
                delimiter=source.get("delimiter", ""),
                key_column=source.get("key_column", ""),
                max_row_bytes=settings.RUN_MAX_ROW_BYTES,
            )
            yield from table.rows()
            run.columns = table.columns
        elif source["rows"] == "requests":
            yield from _request_rows(pieces, encoding)
        else:
            yield from _object_rows(run, pieces, encoding)

    def request_of(self, run: Run, row: RunRow) -> CompositeRequest:
        payload = row.payload or {}
        if not run.scene:
            return _request({**run.options, **payload})
        variables = mapped(run.mapping, payload)
        if run.source.get("format") == "csv":
            variables = _typed(run, variables)
        fields = {**run.options, "scene": run.scene, "variables": variables}
        if run.scene_version is not None:
            fields["version"] = run.scene_version
        return CompositeRequest.model_validate(fields)

    def refuses_all(self, run: Run, row: RunRow, refusal: Exception) -> bool:
        if (
            isinstance(refusal, ModelDisabled)
            and not run.scene
            and (row.payload or {}).get("model")
        ):
            # The next row may name another.
            return False
        return super().refuses_all(run, row, refusal)

    def announce(self, run: Run, event: str) -> None:
        announcing.create_webhooks(run, event)


def _typed(run: Run, variables: Object) -> Object:
    """The variables of a row of CSV, of which every value is a text, as the scene's schema has
    them. Constants are what they are."""
    if run.variables_schema is None:
        version = find_version(run.scene, run.scene_version)
        run.variables_schema = version.variables_schema if version else {}
    schema = run.variables_schema
    properties, required = schema.get("properties"), schema.get("required")
    if not isinstance(properties, dict):
        return variables
    constants = {name for name, source in run.mapping.items() if isinstance(source, dict)}
    texts = {name: value for name, value in variables.items() if name not in constants}
    needed = set(required) if isinstance(required, list) else set[str]()
    typed = coerce(texts, properties, set(texts) - needed)
    return {
        name: typed.get(name, value)
        for name, value in variables.items()
        if name in typed or name in constants
    }


def mapped(mapping: Mapping[str, JsonValue], payload: Mapping[str, JsonValue]) -> Object:
    """The variables of a row: `{"variable": "column"}`, or `{"variable": {"value": constant}}`.
    Without a mapping each column is a variable."""
    if not mapping:
        return dict(payload)
    variables: Object = {}
    for variable, source in mapping.items():
        if isinstance(source, dict):
            variables[variable] = source["value"]
        elif source in payload:
            variables[variable] = payload[str(source)]
    return variables


# --- JSONL --------------------------------------------------------------------------------------
def _request_rows(pieces: Iterator[bytes], encoding: Encoding) -> Iterator[ParsedRow]:
    for number, fields in decode_objects(pieces, encoding, settings.RUN_MAX_ROW_BYTES):
        if isinstance(fields, ParsedRow):
            yield fields
            continue
        taken = take_key(number, fields)
        yield taken if isinstance(taken, ParsedRow) else _checked_request(number, *taken)


def _checked_request(number: int, key: str, fields: Object) -> ParsedRow:
    """A whole request: the body of POST /api/llmchat/request, or `{"body": that}`."""
    body = fields["body"] if set(fields) == {"body"} else fields
    if not isinstance(body, dict):
        return invalid(number, "invalid_request", "This is no object.", key=key, param="body")
    try:
        _request(body)
    except InvalidRequest as problem:
        message, field, params = problem.message, problem.field, problem.params
        return invalid(number, "invalid_request", message, key=key, param=field, params=params)
    return encode_row(number, key, body)


def _request(fields: Mapping[str, JsonValue]) -> CompositeRequest:
    """Raises InvalidRequest, naming the field."""
    for name in _ALONE:
        if fields.get(name) is not None:
            raise because(InvalidRequest, Reason("not_in_run_row"), field=name)
    try:
        return CompositeRequest.model_validate(fields)
    except ValidationError as error:
        raise invalid_request_of(error) from None


def _object_rows(run: Run, pieces: Iterator[bytes], encoding: Encoding) -> Iterator[ParsedRow]:
    """Objects whose fields are columns; the columns are those of all rows, in order."""
    columns: dict[str, None] = {}
    for number, fields in decode_objects(pieces, encoding, settings.RUN_MAX_ROW_BYTES):
        if isinstance(fields, ParsedRow):
            yield fields
            continue
        taken = take_key(number, fields)
        if isinstance(taken, ParsedRow):
            yield taken
            continue
        key, values = taken
        columns.update(dict.fromkeys(values))
        if len(columns) > MAX_FIELDS:
            message, params = f"At most {MAX_FIELDS} fields are read.", {"limit": MAX_FIELDS}
            raise FileError("too_many_columns", message, line=number, params=params)
        yield encode_row(number, key, values)
    run.columns = cast("list[str]", list(columns))
