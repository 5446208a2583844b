"""The outputs of an AI field: fields that take an answer, or properties of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import cast

import msgspec
from pydantic import JsonValue

from aily.problems import InvalidRequest
from aily.rest.json_input import decode_json
from chat.reasons import Reason
from chat.tables.ai.config import WHOLE
from chat.tables.models import AiField, AiRun, Field, Kind
from chat.tables.texts import text_parser
from chat.tables.values import Cell, UnfitValueError, json_parser, to_json

#: Characters of an answer that are kept with the error of a cell that it does not fit.
KEPT_CHARS = 10_000


class MisfitError(Exception):
    """An answer that does not fit the cells of its outputs."""

    def __init__(self, code: str, reason: Reason, field: Field | None = None) -> None:
        super().__init__(reason)
        self.code, self.reason, self.field = code, reason, field

    def as_error(self, text: str) -> dict[str, object]:
        """The error of the row, which keeps the answer."""
        error: dict[str, object] = {"code": self.code, "params": self.reason.as_params()}
        message = str(self.reason)
        if self.field is not None:
            error["param"], message = self.field.key, f"{self.field.name}: {message}"
        error["message"] = message[:500]
        return {**error, "text": text[:KEPT_CHARS].replace("\0", "")}


@dataclass(frozen=True, slots=True)
class Output:
    """A field that takes the property `name` of the answer, or all of it."""

    field: Field
    name: str

    @property
    def column(self) -> str:
        return self.field.column


def outputs_of(ai_run: AiRun) -> list[Output]:
    """Return the outputs of the run that still exist, in the order of their columns."""
    wanted = cast("Mapping[str, list[str]]", ai_run.config.content["outputs"])
    fields = Field.objects.filter(ai_field=ai_run.ai_field_id, deleted_at=None)
    found = [Output(field, wanted[field.column][0]) for field in fields if field.column in wanted]
    return sorted(found, key=lambda output: output.field.pk)


def present_outputs(ai_field: AiField, fields: Sequence[Field]) -> list[Output]:
    return [
        Output(field, ai_field.outputs_map.get(field.column, WHOLE))
        for field in fields
        if field.ai_field_id == ai_field.pk
    ]


def read_answer(text: str, outputs: Sequence[Output]) -> dict[str, object]:
    """The answer's values by the outputs' columns, as JSON that PostgreSQL converts.

    Raises MisfitError, which names the first field that it does not fit.
    """
    values: dict[str, object] = {}
    document: Mapping[str, JsonValue] | None = None
    for output in outputs:
        if output.name == WHOLE:
            cell = _parsed(output, text_parser, _whole(text, output))
        else:
            if document is None:
                document = _document(text)
            value = document.get(output.name)
            cell = _parsed(output, text_parser if isinstance(value, str) else json_parser, value)
        values[output.column] = _stored(cell)
    return values


def _whole(text: str, output: Output) -> str:
    """The answer, without the blanks around it where it is no long text."""
    return text if output.field.kind == Kind.LONG_TEXT else text.strip()


def _parsed(output: Output, parser: Callable[[Field], Callable[..., Cell]], value: object) -> Cell:
    field = output.field
    if field.kind in (Kind.TEXT, Kind.LONG_TEXT) and value is not None:
        value = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    try:
        return parser(field)(value)
    except UnfitValueError as error:
        raise MisfitError("output_invalid", error.reason, field) from None


def _document(text: str) -> Mapping[str, JsonValue]:
    try:
        value = decode_json(text.strip())
    except InvalidRequest as problem:
        reason = Reason.of("answer_no_json", detail=problem.message)
        raise MisfitError("output_invalid", reason) from None
    if not isinstance(value, dict):
        raise MisfitError("output_invalid", Reason.of("answer_no_object"))
    return value


def _stored(cell: Cell) -> object:
    """The cell as json_to_recordset converts it. A JSON null is a cell without a value."""
    if isinstance(cell, Decimal):
        return str(cell)
    return to_json(cell) if isinstance(cell, date | datetime) else cell
