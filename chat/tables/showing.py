"""Rows as they are shown: their own cells, their links, and what AI fields have for them.

A number of queries that grows with the fields that are links or AI fields, never with the rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from pydantic import JsonValue

from chat.tables.models import Field
from chat.tables.rows.reading import RowJson, rows_as_json
from chat.tables.values import Cell, to_json


class ShownAnswer(Protocol):
    """What an AI field has for a row."""

    @property
    def values(self) -> Mapping[str, Cell]:
        """The cells of the AI field's outputs, by the keys of these."""
        ...

    def as_json(self) -> Mapping[str, JsonValue]:
        """Its state."""
        ...


#: Reads the answers of rows, by row and AI field: table, fields, ids of rows.
AnswerReader = Callable[
    [int, Sequence[Field], Sequence[int]], Mapping[int, Mapping[int, ShownAnswer]]
]

_answer_readers: list[AnswerReader] = []


def register_answer_reader(reader: AnswerReader) -> None:
    """Let `reader` read what AI fields have for rows. To be called in `AppConfig.ready`."""
    _answer_readers.append(reader)


def shown_rows(table_id: int, fields: Sequence[Field], ids: Sequence[int]) -> list[RowJson | None]:
    """The rows of these ids in this order, as JSON. None: it was deleted."""
    own = [field for field in fields if field.ai_field_id is None]
    filled = [field for field in fields if field.ai_field_id is not None]
    shown = rows_as_json(table_id, own, ids)
    if filled and shown:
        for reader in _answer_readers:
            for row_id, answers in reader(table_id, filled, list(shown)).items():
                _add_answers(shown[row_id], filled, answers)
    return [shown.get(row_id) for row_id in ids]


def _add_answers(row: RowJson, filled: Sequence[Field], answers: Mapping[int, ShownAnswer]) -> None:
    values, states = row["values"], {}
    assert isinstance(values, dict)  # noqa: S101 - as rows are made
    for field in filled:
        answer = answers.get(field.ai_field_id or 0)
        values[field.key] = to_json(answer.values.get(field.key)) if answer is not None else None
        if answer is not None:
            states[field.key] = dict(answer.as_json())
    row["ai"] = states  # type: ignore[assignment]
