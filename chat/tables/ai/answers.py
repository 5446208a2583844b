"""Reading the answers of AI fields: of a page of rows, one query an AI field; and one of them with
where it comes from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from psycopg import sql
from pydantic import JsonValue

from aily.database.rows import fetch_tuples
from chat.tables.ai.sources import Source, load_sources
from chat.tables.ai.states import config_changed, input_changed, state_expression
from chat.tables.models import Field
from chat.tables.names import answers_table, column, rows_table, statement
from chat.tables.values import Cell, database_reader

_READ = """
SELECT t.id, {state}, {input_changed}, {config_changed}, a.error->>'code', a.thumb, a.verdict
       {outputs}
  FROM {rows} t LEFT JOIN {answers} a ON a.row_id = t.id WHERE t.id = ANY(%s)
"""
_ALIAS = sql.Identifier("a")


@dataclass(frozen=True, slots=True)
class Answer:
    """What an AI field has for a row."""

    #: By the keys of its outputs.
    values: dict[str, Cell]
    state: str
    #: Of a stale one: input, config, or both.
    why: tuple[str, ...] = ()
    #: Of a failed one: the code of the error.
    code: str | None = None
    thumb: int | None = None
    verdict: int | None = None

    def as_json(self) -> dict[str, JsonValue]:
        """Its state as rows show it, without its values."""
        shown: dict[str, JsonValue] = {"state": self.state}
        if self.why:
            shown["why"] = list(self.why)
        for name in ("code", "thumb", "verdict"):
            if (value := getattr(self, name)) is not None:
                shown[name] = value
        return shown


def read(
    table_id: int, fields: Iterable[Field], row_ids: Sequence[int]
) -> dict[int, dict[int, Answer]]:
    """The answers of these rows, by row and AI field, for the AI fields that fill `fields`.

    A number of queries that grows with neither rows nor outputs.
    """
    filled_by = {field.ai_field_id for field in fields if field.ai_field_id is not None}
    found: dict[int, dict[int, Answer]] = {row_id: {} for row_id in row_ids}
    for source in load_sources(filled_by).values():
        for row_id, answer in _read(table_id, source, row_ids):
            found[row_id][source.ai_field.pk] = answer
    return found


def _read(table_id: int, source: Source, row_ids: Sequence[int]) -> Iterable[tuple[int, Answer]]:
    parts: Mapping[str, sql.Composable] = {
        "state": state_expression(source, _ALIAS),
        "input_changed": input_changed(source, _ALIAS),
        "config_changed": config_changed(source, _ALIAS),
        "outputs": sql.SQL("").join(
            sql.SQL(", a.{}").format(column(output.column)) for output in source.outputs
        ),
        "rows": rows_table(table_id),
        "answers": answers_table(source.ai_field.pk),
    }
    readers = [(output.key, database_reader(output)) for output in source.outputs]
    rows = cast("list[tuple[Any, ...]]", fetch_tuples(statement(_READ, **parts), [list(row_ids)]))
    for row_id, state, other_input, other_config, code, thumb, verdict, *cells in rows:
        changed = (("input", other_input), ("config", other_config))
        yield (
            row_id,
            Answer(
                {key: reader(cell) for (key, reader), cell in zip(readers, cells, strict=True)},
                state,
                tuple(name for name, is_other in changed if is_other) if state == "stale" else (),
                code if state == "failed" else None,
                thumb,
                verdict,
            ),
        )
