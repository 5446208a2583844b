"""What becomes of one record of a file: the values of its row, or what is wrong with its cells."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import cast

import msgspec
from pydantic import JsonValue

from chat.reasons import Reason, ReasonError
from chat.tables.files.cells import CellError, converter
from chat.tables.files.dialects import Dialect
from chat.tables.imports.links import LinkFinder
from chat.tables.models import Field, Kind
from chat.tables.models.tables import MAX_NAME_CHARS
from chat.tables.options import MAX_CHOICES
from chat.tables.texts import text_parser
from chat.tables.values import Cell, choices, json_parser

Parse = Callable[[JsonValue], object]


class NewChoices:
    """Choices of a select by name; those that the file adds get the next ids."""

    def __init__(self, field: Field) -> None:
        self._ids = {str(choice["name"]): cast("int", choice["id"]) for choice in choices(field)}
        self.next_id = cast("int", field.options.get("next_id", 1))
        #: Those that the field has not yet, as `{"id", "name"}`.
        self.added: list[dict[str, JsonValue]] = []

    def find(self, name: JsonValue) -> int:
        """The id of a choice. Raises CellError if there can be no more."""
        if not isinstance(name, str):
            raise CellError(Reason.of("choice_no_text"))
        name = name.strip()
        if (found := self._ids.get(name)) is not None:
            return found
        if not 1 <= len(name) <= MAX_NAME_CHARS or "\0" in name:
            raise CellError(Reason.of("choice_length", limit=MAX_NAME_CHARS))
        if len(self._ids) >= MAX_CHOICES:
            raise CellError(Reason.of("field_choices", limit=MAX_CHOICES))
        number = self._ids[name] = self.next_id
        self.next_id += 1
        self.added.append({"id": number, "name": name})
        return number


class RowParser:
    """Makes the values of a row, in the order of `fields`, of a record's cells."""

    def __init__(
        self,
        targets: Sequence[int | None],
        fields: Mapping[int, Field],
        dialect: Dialect,
        finders: Mapping[int, LinkFinder],
    ) -> None:
        """`finders`: of link fields, by the field's id."""
        self._finders = finders
        self._places = [place for place, target in enumerate(targets) if target is not None]
        self.fields = [fields[target] for target in targets if target is not None]
        self.choices = {
            field.pk: NewChoices(field)
            for field in self.fields
            if field.kind in (Kind.SELECT, Kind.MULTI_SELECT)
        }
        self._parsers = [self._parser(field, dialect) for field in self.fields]

    def learn_links(self, records: Iterable[Sequence[JsonValue]]) -> None:
        """Look up the rows that the link fields of these records name. A query a link field."""
        if not self._finders:
            return
        records = list(records)
        for place, field in zip(self._places, self.fields, strict=True):
            if (finder := self._finders.get(field.pk)) is not None:
                finder.learn(cells[place] for cells in records if place < len(cells))

    def _parser(self, field: Field, dialect: Dialect) -> Parse:
        if (finder := self._finders.get(field.pk)) is not None:
            return finder.find
        convert = converter(field.kind, dialect)
        if (known := self.choices.get(field.pk)) is not None:
            is_list = field.kind == Kind.MULTI_SELECT
            return _labels_parser(convert, known) if is_list else _label_parser(convert, known)
        parse_text, parse_json = text_parser(field), json_parser(field)
        if field.kind == Kind.NUMBER:
            return lambda cell: _number(convert(cell), parse_text, parse_json)
        if field.kind == Kind.JSON:
            return lambda cell: _json(parse_json(convert(cell)))
        return lambda cell: parse_json(convert(cell))

    def parse(self, cells: Sequence[JsonValue]) -> tuple[list[object], list[CellFault]]:
        """The values of the row; and each cell at fault: its field, text and reason."""
        values: list[object] = []
        faults: list[CellFault] = []
        for place, field, parse in zip(self._places, self.fields, self._parsers, strict=True):
            cell = cells[place] if place < len(cells) else None
            try:
                values.append(parse(cell))
            except ReasonError as error:
                faults.append((field, cell, error.reason))
        return values, faults


CellFault = tuple[Field, JsonValue, Reason]


def _number(
    value: JsonValue, parse_text: Callable[[str], Cell], parse_json: Callable[[JsonValue], Cell]
) -> object:
    return parse_text(value) if isinstance(value, str) else parse_json(value)


def _json(value: object) -> str | None:
    """Encode a value as JSON for COPY."""
    return None if value is None else msgspec.json.encode(value).decode()


def _label_parser(convert: Parse, known: NewChoices) -> Parse:
    def parse(cell: JsonValue) -> object:
        name = convert(cell)
        return None if name is None else known.find(cast("JsonValue", name))

    return parse


def _labels_parser(convert: Parse, known: NewChoices) -> Parse:
    def parse(cell: JsonValue) -> object:
        names = convert(cell)
        if names is None:
            return None
        if not isinstance(names, list):
            raise CellError(Reason.of("no_choice_list"))
        return list(dict.fromkeys(map(known.find, names))) or None

    return parse
