"""What a batch does to rows: operations as they are asked for, checked, and what came of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from pydantic import JsonValue

from aily.problems import InvalidRequest, Problem
from chat.exceptions import because
from chat.reasons import Reason
from chat.tables.exceptions import InvalidValue
from chat.tables.models import Field, Kind
from chat.tables.values import Cell, FromJson, UnfitValueError, json_parser

Given = Mapping[str, JsonValue]
Status = Literal["created", "updated", "unchanged", "deleted", "conflict", "failed"]

#: Kinds whose values can name a row.
KEY_KINDS = frozenset({
    Kind.TEXT, Kind.LONG_TEXT, Kind.INTEGER, Kind.NUMBER, Kind.DATE, Kind.DATETIME, Kind.SELECT,
    Kind.URL, Kind.EMAIL,
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Create:
    """A new row. `row_id` and `pos` are those of a deleted row that comes back."""

    values: Given
    row_id: int | None = None
    pos: float | None = None


@dataclass(frozen=True, slots=True)
class Update:
    """New values of some cells, each on condition that it is as the writer last saw it.

    `was` has cells as seen; one that it leaves out is set in any case. `version`: the whole row
    must be as it was.
    """

    row_id: int
    values: Given
    was: Given = field(default_factory=dict)
    version: int | None = None


@dataclass(frozen=True, slots=True)
class Delete:
    row_id: int
    version: int | None = None


@dataclass(frozen=True, slots=True)
class Upsert:
    """New values of the row that the key field names, or a new row if there is none."""

    values: Given


Operation = Create | Update | Delete | Upsert


#: A cell that others have changed: row, its version, and field and present value of the cell.
Conflict = dict[str, JsonValue]


@dataclass(slots=True)
class Outcome:
    """What came of an operation."""

    status: Status
    row_id: int | None = None
    version: int | None = None
    conflicts: list[Conflict] = field(default_factory=list)
    problem: Problem | None = None


@dataclass(slots=True)
class Step:
    """An operation with its values checked, and what comes of it."""

    operation: Operation
    #: The name of the operation in errors; empty: the request has only this one.
    where: str = ""
    #: 0: a row that is not there yet.
    row_id: int = 0
    #: By the ids of their fields.
    cells: dict[int, Cell] = field(default_factory=dict)
    #: Cells that were left out, as others have changed them.
    conflicts: list[Conflict] = field(default_factory=list)
    outcome: Outcome | None = None

    def end(self, status: Status, row_id: int, version: int | None) -> None:
        self.row_id = row_id
        self.outcome = Outcome(status, row_id, version, self.conflicts)

    def fail(self, problem: Problem) -> None:
        self.outcome = Outcome("failed", problem=problem)

    def path(self, *parts: object) -> str:
        """The name of a part of this operation in an error."""
        return ".".join(map(str, (self.where, *parts) if self.where else parts))


class Schema:
    """The fields of a table by their keys, with the parsers of their values."""

    def __init__(self, fields: list[Field]) -> None:
        self.fields = fields
        self.by_id = {field.pk: field for field in fields}
        self._by_key = {field.key: field for field in fields}
        #: By the key of each field that may be written: its id and the parser of its values.
        self._parsers: dict[str, tuple[int, FromJson]] = {}

    @cached_property
    def stored(self) -> list[Field]:
        return [field for field in self.fields if field.is_stored]

    @cached_property
    def links(self) -> list[Field]:
        return [field for field in self.fields if field.kind == Kind.LINK]

    def find(self, key: str, where: str) -> Field:
        """Return the field of this key. Raises InvalidValue."""
        field = self._by_key.get(key)
        if field is None:
            raise because(InvalidValue, Reason("no_such_field"), field=where)
        return field

    def parse(self, field: Field, value: JsonValue) -> Cell:
        """Return the cell that a JSON value makes. Raises UnfitValueError."""
        _, parse = self._parser(field.key, "")
        return parse(value)

    def parse_values(self, step: Step, values: Given) -> None:
        """Check the values of an operation. Raises InvalidValue, which names the field."""
        parsers, cells = self._parsers, step.cells
        for key, value in values.items():
            # Tens of thousands of cells in a batch: each of them costs one dictionary look-up.
            try:
                pk, parse = parsers[key]
            except KeyError:
                pk, parse = self._parser(key, step.path("values", key))
            try:
                cells[pk] = parse(value)
            except UnfitValueError as error:
                message = f"{self.by_id[pk].name}: {error}"
                where, params = step.path("values", key), error.reason.as_params()
                raise InvalidValue(message, field=where, params=params) from None

    def _parser(self, key: str, where: str) -> tuple[int, FromJson]:
        field = self.find(key, where)
        found = self._parsers[key] = field.pk, json_parser(field)
        return found

    def key_field(self, key: str | None) -> Field:
        """Return the field that names the rows of upserts. Raises InvalidRequest."""
        if key is None:
            raise because(InvalidRequest, Reason("key_missing"), field="key")
        field = self.find(key, "key")
        if field.kind not in KEY_KINDS or not field.is_stored:
            raise because(InvalidRequest, Reason.of("no_key_kind", kind=field.kind), field="key")
        return field
