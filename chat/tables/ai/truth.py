"""Answers beside the right ones, which people have put into another field of the table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal, InvalidOperation

from pydantic import JsonValue

from aily.problems import InvalidRequest
from chat.exceptions import because
from chat.reasons import Reason
from chat.tables.models import Field, Kind
from chat.tables.rows.reading import load_rows
from chat.tables.values import Cell, choices, to_json

#: Pairs of a right and a given answer that are listed, the most frequent first.
MAX_PAIRS = 100

Object = dict[str, JsonValue]


def check_truth(
    truth: Mapping[str, str], outputs: Sequence[Field], fields: Sequence[Field]
) -> None:
    """Raise InvalidRequest unless outputs are named, and for each a field that they do not fill."""
    own = {field.key for field in outputs}
    known = {field.key: field for field in fields if field.kind != Kind.LINK}
    for output, right in truth.items():
        if output not in own:
            raise because(InvalidRequest, Reason("no_such_output"), field=f"truth.{output}")
        if right not in known or right in own:
            raise because(InvalidRequest, Reason("right_answers"), field=f"truth.{output}")


def read_truth(
    table_id: int, fields: Sequence[Field], keys: Iterable[str], row_ids: Sequence[int]
) -> dict[str, dict[int, str]]:
    """The right answers as texts, by the key of their field and row. Empty cells are left out."""
    wanted = [field for field in fields if field.key in set(keys)]
    rows = load_rows(table_id, wanted, row_ids)
    found: dict[str, dict[int, str]] = {field.key: {} for field in wanted}
    for field in wanted:
        for row in rows.values():
            if (cell := row.cells.get(field.pk)) is not None:
                found[field.key][row.id] = text_of(field, cell)
    return found


def text_of(field: Field, value: Cell) -> str:
    """What is compared: choices by their names, numbers by their value."""
    names = {choice["id"]: str(choice["name"]) for choice in choices(field)}
    match Kind(field.kind):
        case Kind.SELECT:
            return names.get(value, "")  # type: ignore[arg-type]
        case Kind.MULTI_SELECT if isinstance(value, list):
            return ", ".join(sorted(names.get(item, "") for item in value))
        case Kind.NUMBER | Kind.INTEGER:
            return _number(str(value))
        case Kind.BOOLEAN:
            return "true" if value else "false"
    return str(to_json(value)).strip()


def _number(text: str) -> str:
    try:
        return f"{Decimal(text).normalize():f}"
    except InvalidOperation:
        return text


def judged(answers: Mapping[int, str], right: Mapping[int, str]) -> Object:
    """How many answers are right, and which were given in place of which. Rows without a right
    answer are left out; one without an answer counts as wrong."""
    pairs = Counter((truth, answers.get(row_id, "")) for row_id, truth in right.items())
    listed: list[JsonValue] = [
        {"truth": truth, "answer": answer, "rows": rows}
        for (truth, answer), rows in pairs.most_common(MAX_PAIRS)
    ]
    return {
        "compared": len(right),
        "right": sum(rows for (truth, answer), rows in pairs.items() if truth == answer),
        "pairs": listed,
    }
