"""What a view asks of its table: checked when it is stored, compiled when it is opened."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from pydantic import JsonValue

from aily.problems import InvalidRequest
from chat.exceptions import because
from chat.reasons import Reason
from chat.tables.models import View
from chat.tables.names import rows_table
from chat.tables.queries.aggregates import Aggregate, Grouping, aggregate_columns, compile_groups
from chat.tables.queries.filters import compile_filter, without_fields
from chat.tables.queries.operands import Operands
from chat.tables.queries.pages import Query
from chat.tables.queries.sorts import check_collation, compile_sorts
from chat.tables.queries.statement import Statement

MAX_LISTED_FIELDS = 400
#: Pixels of a column.
MIN_WIDTH, MAX_WIDTH = 30, 2_000


@dataclass(frozen=True, slots=True)
class ViewQuery:
    """The rows of a view in their order, and what is computed of its groups."""

    query: Query
    groups: Sequence[Grouping] = ()
    aggregates: Sequence[Aggregate] = ()


@dataclass(frozen=True, slots=True)
class ViewParts:
    """What decides about the rows of a view and their order, as it is in JSON."""

    filter: JsonValue = None
    sorts: JsonValue = None
    groups: JsonValue = None
    aggregates: JsonValue = None
    collation: str = ""


def parts_of(view: View) -> ViewParts:
    return ViewParts(view.filter, view.sorts, view.groups, view.aggregates, view.collation)


def compile_stored(table_id: int, operands: Operands, parts: ViewParts) -> ViewQuery:
    """The query of a stored view, without what it says of fields that were deleted."""
    return compile_parts(table_id, operands, without_deleted(parts, operands)[0])


def compile_parts(table_id: int, operands: Operands, parts: ViewParts) -> ViewQuery:
    """Check everything, and return the query. Raises InvalidRequest naming what is wrong."""
    table = rows_table(table_id)
    groups = parse_groups(parts.groups)
    aggregates = parse_aggregates(parts.aggregates)
    statement = Statement(table, operands)
    check_collation(parts.collation)
    compile_filter(statement, parts.filter)
    compile_sorts(statement, parts.sorts or [], parts.collation)
    compile_groups(statement, groups, parts.collation)
    aggregate_columns(statement, aggregates)
    query = Query(table, operands, parts.filter, parts.sorts, parts.collation)
    return ViewQuery(query, groups, aggregates)


# --- Parsing ------------------------------------------------------------------------------------
def parse_groups(given: JsonValue) -> list[Grouping]:
    """Groups as they are in JSON: fields, or objects of `field`, `desc` and `bucket`."""
    if given is None:
        return []
    if not isinstance(given, list):
        raise because(InvalidRequest, Reason("not_list"), field="groups")
    return [_parse_group(group, f"groups.{index}") for index, group in enumerate(given)]


def _parse_group(group: JsonValue, path: str) -> Grouping:
    if isinstance(group, str):
        return Grouping(group)
    if not isinstance(group, dict) or not {"field"} <= set(group) <= {"field", "desc", "bucket"}:
        raise because(InvalidRequest, Reason("group_shape"), field=path)
    name, is_descending, bucket = group["field"], group.get("desc", False), group.get("bucket")
    if not isinstance(name, str):
        raise because(InvalidRequest, Reason("no_such_field"), field=f"{path}.field")
    if not isinstance(is_descending, bool):
        raise because(InvalidRequest, Reason("not_boolean"), field=f"{path}.desc")
    if bucket is not None and not isinstance(bucket, str):
        raise because(InvalidRequest, Reason("not_string"), field=f"{path}.bucket")
    return Grouping(name, is_descending, bucket)


def parse_aggregates(given: JsonValue) -> list[Aggregate]:
    """Aggregates as they are in JSON: functions by the names of their fields."""
    if given is None:
        return []
    if not isinstance(given, dict):
        raise because(InvalidRequest, Reason("aggregates_shape"), field="aggregates")
    for name, function in given.items():
        if not isinstance(function, str):
            raise because(InvalidRequest, Reason("not_string"), field=f"aggregates.{name}")
    return [Aggregate(name, cast("str", function)) for name, function in given.items()]


# --- Fields that were deleted -------------------------------------------------------------------
def without_deleted(parts: ViewParts, operands: Operands) -> tuple[ViewParts, list[str]]:
    """The parts without those that name a field that is not there, and the names of these."""
    missing: dict[str, None] = {}
    tree = without_fields(parts.filter, operands, missing)

    def kept(listed: JsonValue) -> list[JsonValue]:
        items = listed if isinstance(listed, list) else []
        return [item for item in items if _is_there(item, operands, missing)]

    aggregates = parts.aggregates if isinstance(parts.aggregates, dict) else {}
    missing.update(dict.fromkeys(name for name in aggregates if name not in operands))
    computed = {name: value for name, value in aggregates.items() if name in operands}
    left = ViewParts(tree, kept(parts.sorts), kept(parts.groups), computed, parts.collation)
    return left, list(missing)


def _is_there(item: JsonValue, operands: Operands, missing: dict[str, None]) -> bool:
    name = item.get("field") if isinstance(item, dict) else item
    if isinstance(name, str) and name not in operands:
        missing[name] = None
        return False
    return True


# --- Layout -------------------------------------------------------------------------------------
def check_layout(
    operands: Operands, hidden: Collection[str], order: Collection[str], widths: Mapping[str, int]
) -> None:
    """Check the fields that a view lays out. Raises InvalidRequest."""
    for where, names in (("hidden", hidden), ("order", order), ("widths", widths)):
        if len(names) > MAX_LISTED_FIELDS:
            raise because(
                InvalidRequest,
                Reason.of("too_many_listed_fields", limit=MAX_LISTED_FIELDS),
                field=where,
            )
        for index, name in enumerate(names):
            if name not in operands:
                place = f"{where}.{name}" if where == "widths" else f"{where}.{index}"
                raise because(InvalidRequest, Reason("no_such_field"), field=place)
    for name, width in widths.items():
        if not MIN_WIDTH <= width <= MAX_WIDTH:
            raise because(
                InvalidRequest,
                Reason.of("column_width", minimum=MIN_WIDTH, maximum=MAX_WIDTH),
                field=f"widths.{name}",
            )
