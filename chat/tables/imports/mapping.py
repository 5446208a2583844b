"""The mapping of a file's columns: to fields of the table, to fields to create, or to none.

A list with an entry for each column: `{"field": "f12"}`, `{"new": {"name", "kind"}}`, or null. Of a
link `{"field": "f12", "by": "f7"}` says which field of the linked table its cells name rows by. A
field that no column goes to is never touched.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from pydantic import JsonValue

from accounts.models import User
from aily.problems import InvalidRequest
from chat.exceptions import because
from chat.reasons import Reason
from chat.tables.fields import MAX_FIELDS, NewField, live_fields
from chat.tables.imports.links import find_target
from chat.tables.models import Field, Import, Kind

Mapped = dict[str, JsonValue] | None
#: Fields that a file cannot create: nothing in it says to which table they link.
_NOT_CREATED = (Kind.LINK,)


def default_mapping(job: Import, columns: Sequence[Mapping[str, str]]) -> list[Mapped]:
    """Each column goes to the field of its name. Of a new table each is a field; otherwise the
    others go nowhere. What was chosen before stays, if the file still has as many columns."""
    if job.options.get("is_mapped") and len(job.mapping) == len(columns):
        return cast("list[Mapped]", job.mapping)
    if job.table_id is None:
        return [
            {"new": {"name": column["name"], "kind": column["kind"]}} if at < MAX_FIELDS else None
            for at, column in enumerate(columns)
        ]
    free = {field.name.strip().casefold(): field for field in importable_fields(job.table_id)}
    found: list[Mapped] = []
    for column in columns:
        field = free.pop(column["name"].casefold(), None)
        found.append({"field": field.key} if field is not None else None)
    return found


def importable_fields(table_id: int) -> list[Field]:
    """Fields that a file may fill: those of people and programs."""
    return [field for field in live_fields(table_id) if field.ai_field_id is None]


def check_mapping(job: Import, mapping: Sequence[Mapped], user: User) -> None:
    """Raise InvalidRequest, naming the entry, unless each column goes where it may."""
    if len(mapping) != len(job.columns):
        raise because(
            InvalidRequest, Reason.of("mapping_count", count=len(job.columns)), field="mapping"
        )
    fields = {field.key: field for field in live_fields(job.table_id)} if job.table_id else {}
    taken: set[str] = set()
    for at, entry in enumerate(mapping):
        if entry is None:
            continue
        name = _check_entry(entry, fields, f"mapping.{at}", user)
        if name in taken:
            raise because(InvalidRequest, Reason("mapped_twice"), field=f"mapping.{at}")
        taken.add(name)


def _check_entry(
    entry: Mapping[str, JsonValue], fields: Mapping[str, Field], where: str, user: User
) -> str:
    """The field, by its key, or by its name if it is to be created."""
    if {"field"} <= set(entry) <= {"field", "by"}:
        return _check_field(entry, fields.get(str(entry["field"])), where, user)
    new = entry.get("new")
    if set(entry) == {"new"} and isinstance(new, dict) and new.keys() <= {"name", "kind"}:
        if new.get("kind") not in Kind.values or new["kind"] in _NOT_CREATED:
            kinds = ", ".join(kind for kind in Kind.values if kind not in _NOT_CREATED)
            raise because(
                InvalidRequest, Reason.of("one_of", values=kinds), field=f"{where}.new.kind"
            )
        name = new.get("name")
        if not isinstance(name, str) or not name.strip():
            raise because(InvalidRequest, Reason("unnamed_field"), field=f"{where}.new.name")
        return name.strip()
    raise because(InvalidRequest, Reason("mapping_shape"), field=where)


def _check_field(
    entry: Mapping[str, JsonValue], field: Field | None, where: str, user: User
) -> str:
    if field is None:
        raise because(InvalidRequest, Reason("no_such_field"), field=f"{where}.field")
    if field.ai_field_id is not None:
        raise because(InvalidRequest, Reason("file_fills_ai_field"), field=f"{where}.field")
    if field.kind == Kind.LINK:
        find_target(field, entry.get("by"), user, where)
    elif "by" in entry:
        raise because(InvalidRequest, Reason("by_of_links"), field=f"{where}.by")
    return field.key


def fields_to_create(mapping: Sequence[Mapped]) -> list[NewField]:
    found = [cast("dict[str, Any]", entry["new"]) for entry in mapping if entry and "new" in entry]
    return [NewField(new["name"].strip(), new["kind"]) for new in found]


def targets_of(mapping: Sequence[Mapped], created: Sequence[Field]) -> list[int | None]:
    """The id of each column's field, once those to create are created, in their order."""
    new = iter(created)
    return [
        None
        if entry is None
        else next(new).pk
        if "new" in entry
        else int(str(entry["field"]).removeprefix("f"))
        for entry in mapping
    ]


def naming_fields(mapping: Sequence[Mapped]) -> dict[int, JsonValue]:
    """Of columns that go to a field: `by`, by their places."""
    return {at: entry.get("by") for at, entry in enumerate(mapping) if entry and "field" in entry}
