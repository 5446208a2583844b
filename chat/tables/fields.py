"""Adding, changing, deleting and restoring the fields of a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

from django.db.models import CharField, Value
from django.db.models.functions import Cast, Concat
from django.utils import timezone
from pydantic import JsonValue

from accounts.models import User
from aily.database.rows import fetch_column
from aily.problems import Conflict, InvalidRequest, NotFound
from chat.exceptions import because
from chat.reasons import Reason
from chat.tables import ddl
from chat.tables.changes import Author, Changed, record
from chat.tables.conversion import pending_field
from chat.tables.exceptions import TableFull
from chat.tables.models import ChangeKind, Field, Kind, Table
from chat.tables.models.tables import MAX_NAME_CHARS
from chat.tables.names import column, rows_table, statement
from chat.tables.options import Options, check_options
from chat.tables.permissions import Access, get_table
from chat.tables.rebuilding import rebuild

#: Fields of a table, and fields in its trash, whose columns are still there. So many fit into a row
#: of PostgreSQL's 8 KB: of a value that is large 18 bytes are left there, of a small one 24.
MAX_FIELDS, MAX_TRASHED = 200, 100

_HAS_CHOICES = "SELECT count(*) FROM {table} WHERE {column} = ANY(%s)"
_HAS_CHOICES_AMONG = "SELECT count(*) FROM {table} WHERE {column} && %s"


@dataclass(frozen=True, slots=True)
class NewField:
    name: str
    kind: str
    options: Mapping[str, JsonValue] = field(default_factory=dict)


def live_fields(table_id: int) -> list[Field]:
    """The fields of a table in their order, without those in the trash. One query."""
    return list(Field.objects.filter(table_id=table_id, deleted_at=None))


def check_name(name: str, where: str = "name") -> str:
    """Return the name without surrounding blanks. Raises InvalidRequest."""
    name = name.strip()
    if not 1 <= len(name) <= MAX_NAME_CHARS:
        raise because(InvalidRequest, Reason.of("name_length", limit=MAX_NAME_CHARS), field=where)
    return name


# --- Adding -------------------------------------------------------------------------------------
def add_catalogue_fields(
    table: Table, new: Sequence[NewField], owner: User | None = None, where: str = "fields"
) -> list[Field]:
    """Insert the catalogue rows of new fields, in three queries. Raises InvalidRequest, TableFull.

    Their columns are the caller's to create, in the same transaction.
    """
    present = live_fields(table.pk)
    if len(present) + len(new) > MAX_FIELDS:
        raise because(TableFull, Reason.of("fields_full", limit=MAX_FIELDS), field=where)
    taken = {field.name for field in present}
    position = max((field.position for field in present), default=0)
    rows: list[Field] = []
    for index, given in enumerate(new):
        at = f"{where}.{index}." if len(new) > 1 or where == "fields" else ""
        name = check_name(given.name, f"{at}name")
        if name in taken:
            raise because(Conflict, Reason.of("field_exists", name=repr(name)), field=f"{at}name")
        taken.add(name)
        options = _checked_options(given, owner, at)
        rows.append(
            Field(
                table=table,
                name=name,
                kind=Kind(given.kind),
                options=options,
                position=position + index + 1,
            )
        )
    if len(rows) == 1:
        rows[0].save()  # for the audit log, which has those of a new table with the table
    else:
        Field.objects.bulk_create(rows)
    stored = [row for row in rows if row.is_stored]
    for row in stored:
        row.column = row.key
    own_key = Concat(Value("f"), Cast("id", CharField()))
    Field.objects.filter(pk__in=[row.pk for row in stored]).update(column=own_key)
    return rows


def _checked_options(given: NewField, owner: User | None, at: str) -> Options:
    try:
        options = check_options(given.kind, given.options)
        if given.kind == Kind.LINK:
            _check_target(cast("int", options["table"]), owner)
    except InvalidRequest as problem:
        field = f"{at}{problem.field}"
        raise InvalidRequest(problem.message, field=field, params=problem.params) from None
    return options


def _check_target(table_id: int, owner: User | None) -> None:
    """Only a table that one may read can be linked to. Raises InvalidRequest."""
    try:
        if owner is not None:
            get_table(owner, table_id, Access.READ)
    except NotFound:
        raise because(InvalidRequest, Reason("no_such_table"), field="options.table") from None


def add_field(table_id: int, new: NewField, user: User, client: str = "") -> Field:
    """Add an empty field. Raises InvalidRequest, Conflict, TableFull and TableBusy."""

    def add(table: Table) -> Field:
        [row] = add_fields(table, [new], user, client)
        return row

    return ddl.change_schema(table_id, add)


def add_fields(table: Table, new: Sequence[NewField], user: User, client: str = "") -> list[Field]:
    """Add empty fields, in the transaction of a change of the schema. Raises as `add_field`."""
    rows = add_catalogue_fields(table, new, user, where="")
    for row in rows:
        require_room(table)
        if row.kind == Kind.LINK:
            ddl.create_links_table(row)
        else:
            ddl.add_column(table.pk, row.column, row.kind)
    _record(table, rows, Author(user.pk, client), _deletion(rows))
    return rows


def require_room(table: Table) -> None:
    """Make room for a column, if the table has had as many as PostgreSQL allows."""
    if ddl.columns_ever(table.pk) >= ddl.MAX_COLUMNS_EVER:
        rebuild(table.pk)


def _record(table: Table, rows: Sequence[Field], author: Author, inverse: Options | None) -> None:
    field_ids = [row.pk for row in rows]
    done = Changed(ChangeKind.FIELD, field_ids=field_ids, changes_schema=True, inverse=inverse)
    record(table, author, done)


def _deletion(rows: Sequence[Field]) -> Options | None:
    """What undoes the creation of a field. Those that an import has made are undone with it."""
    return {"delete_field": rows[0].pk} if len(rows) == 1 else None


# --- Changing -----------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class FieldPatch:
    """None: as it is."""

    name: str | None = None
    options: Mapping[str, JsonValue] | None = None
    position: int | None = None


def change_field(row: Field, patch: FieldPatch, author: Author) -> Field:
    """Change name, options or place of a field; its cells stay. Raises as `add_field`."""

    def apply(table: Table) -> Field:
        changed = get_live_field(row.pk)
        before: Options = {"id": changed.pk, "name": changed.name, "options": changed.options}
        if patch.name is not None:
            changed.name = check_name(patch.name)
            _refuse_taken_name(changed)
        if patch.options is not None:
            _change_options(changed, patch.options)
        changed.save(update_fields=["name", "options", "updated_at"])
        if patch.position is not None:
            before["position"] = _move(changed, patch.position)
        _record(table, [changed], author, {"change_field": before})
        return changed

    return ddl.change_schema(row.table_id, apply)


def get_live_field(field_id: int) -> Field:
    """Return a field that is not in the trash. Raises NotFound."""
    row = Field.objects.filter(pk=field_id, deleted_at=None).first()
    if row is None:
        raise because(NotFound, Reason("no_such_field"))
    return row


def _refuse_taken_name(row: Field) -> None:
    others = Field.objects.filter(table_id=row.table_id, deleted_at=None).exclude(pk=row.pk)
    if others.filter(name=row.name).exists():
        raise because(Conflict, Reason.of("field_exists", name=repr(row.name)), field="name")


def _change_options(row: Field, given: Mapping[str, JsonValue]) -> None:
    before = _choice_names(row.options)
    row.options = check_options(row.kind, given, row.options)
    gone = before.keys() - _choice_names(row.options).keys()
    if gone and row.is_stored and (count := _count_choices(row, sorted(gone))):
        names = ", ".join(repr(before[choice]) for choice in sorted(gone))
        reason = Reason.of("choices_used", count=count, names=names)
        raise because(Conflict, reason, field="options.choices")


def _choice_names(options: Mapping[str, JsonValue]) -> dict[int, str]:
    found = cast("list[dict[str, JsonValue]]", options.get("choices", []))
    return {cast("int", choice["id"]): str(choice["name"]) for choice in found}


def _count_choices(row: Field, ids: list[int]) -> int:
    template = _HAS_CHOICES if row.kind == Kind.SELECT else _HAS_CHOICES_AMONG
    count = statement(template, table=rows_table(row.table_id), column=column(row.column))
    [found] = fetch_column(int, count, [ids])
    return found


def _move(row: Field, index: int) -> int:
    """Give the field this place among the others, from 0. One UPDATE for all of them. Returns the
    place that it had."""
    present = live_fields(row.table_id)
    others = [field for field in present if field.pk != row.pk]
    others.insert(max(index, 0), row)
    for position, other in enumerate(others, start=1):
        other.position = position
    Field.objects.bulk_update(others, ["position"])
    return [field.pk for field in present].index(row.pk)


# --- Deleting -----------------------------------------------------------------------------------
def delete_field(row: Field, author: Author) -> None:
    """Move a field to the trash: its cells stay for TABLE_TRASH_DAYS. Raises TableBusy."""

    def delete(table: Table) -> None:
        deleted = get_live_field(row.pk)
        deleted.deleted_at, deleted.deleted_by_id = timezone.now(), author.user_id
        deleted.save(update_fields=["deleted_at", "deleted_by", "updated_at"])
        trim_trash(table)
        _record(table, [deleted], author, {"restore_field": deleted.pk})

    ddl.change_schema(row.table_id, delete)


def trim_trash(table: Table) -> None:
    """Drop the oldest of the fields in the trash if there are more than MAX_TRASHED."""
    trashed = Field.objects.filter(table=table, deleted_at__isnull=False)
    for row in trashed.order_by("-deleted_at", "-id")[MAX_TRASHED:]:
        drop_field(row)


def drop_field(row: Field) -> None:
    """Drop a field with its cells, in the transaction of a change of the schema. What else it has
    in PostgreSQL goes with its catalogue row."""
    if row.is_stored:
        ddl.drop_column(row.table_id, row.column)
    if (pending := pending_field(row)) is not None:
        ddl.drop_column(row.table_id, pending.column)
    row.delete()


def restore_field(row: Field, author: Author) -> Field:
    """Take a field out of the trash, with its cells. Harmless on one that is not in it.

    If another has its name by now, a number is added to it. Raises TableFull and TableBusy, and
    Conflict for an output whose AI field is in the trash.
    """

    def restore(table: Table) -> Field:
        restored = Field.objects.get(pk=row.pk)
        if restored.deleted_at is None:
            return restored
        if restored.ai_field is not None and restored.ai_field.deleted_at is not None:
            raise because(Conflict, Reason("ai_field_in_trash"), field="ai_field")
        present = live_fields(table.pk)
        if len(present) >= MAX_FIELDS:
            raise because(TableFull, Reason.of("fields_full", limit=MAX_FIELDS))
        restored.name = free_name(restored.name, {field.name for field in present})
        restored.deleted_at = restored.deleted_by = None
        restored.save(update_fields=["name", "deleted_at", "deleted_by", "updated_at"])
        _record(table, [restored], author, {"delete_field": restored.pk})
        return restored

    return ddl.change_schema(row.table_id, restore)


def free_name(name: str, taken: set[str]) -> str:
    """The name, with a number added if another has it."""
    number, free = 1, name
    while free in taken:
        number += 1
        ending = f" ({number})"
        free = name[: MAX_NAME_CHARS - len(ending)] + ending
    return free


# --- Undoing ------------------------------------------------------------------------------------
def carry_out_inverse(table: Table, author: Author, inverse: Mapping[str, JsonValue]) -> bool:
    """Carry out what undoes a change of a field, as `Change.inverse` has it.

    Returns False for an inverse of rows. Raises as the changes do, and NotFound for a field that
    was dropped meanwhile.
    """
    match inverse:
        case {"restore_field": int(field_id)}:
            restore_field(_own_field(table, field_id), author)
        case {"delete_field": int(field_id)}:
            delete_field(_own_field(table, field_id), author)
        case {"change_field": {"id": int(field_id), "name": str(name), "options": dict(options)}}:
            before = cast("Options", inverse["change_field"])
            patch = FieldPatch(name, options, cast("int | None", before.get("position")))
            change_field(_own_field(table, field_id), patch, author)
        case _:
            return False
    return True


def _own_field(table: Table, field_id: int) -> Field:
    row = Field.objects.filter(table=table, pk=field_id).first()
    if row is None:
        raise because(NotFound, Reason("no_such_field"))
    return row
