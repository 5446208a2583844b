"""Links in files: each names rows of the linked table by the value of one of its fields."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import cast

from psycopg import sql
from pydantic import JsonValue

from accounts.models import User
from aily.database.rows import Row, fetch_rows
from aily.problems import InvalidRequest
from chat.exceptions import because
from chat.reasons import Reason
from chat.tables.files.cells import CellError, parse_labels
from chat.tables.files.dialects import Dialect
from chat.tables.models import Field, Kind, Table
from chat.tables.names import column, rows_table, statement
from chat.tables.permissions import Access, has_access
from chat.tables.queries.catalogue import LABEL_KINDS, label_fields
from chat.tables.values import MAX_LINKS_A_CELL, MAX_ROW_ID

#: In place of a field's key: rows are named by their ids.
BY_ID = "id"
#: Bytes of the names that are remembered, with what Python takes for each; of more, all are
#: forgotten, and found anew where they are named again.
MAX_KNOWN_BYTES, NAME_BYTES = 10_000_000, 100
#: Of a name in the message about it.
_SHOWN_CHARS = 80

_FIND = """
SELECT ({value})::text AS name, min(o.id) AS id, count(*) AS rows
  FROM {table} o WHERE {named} = ANY(%s) GROUP BY 1
"""


class _Found(Row, frozen=True):
    name: str
    id: int
    #: How many rows have the name.
    rows: int


@dataclass(frozen=True, slots=True)
class Target:
    """Where a link field's rows are, and the field that names them; None: their ids."""

    table_id: int
    name_field: Field | None


def find_target(field: Field, by: JsonValue, reader: User, where: str) -> Target:
    """The rows that cells for this link field name. `by`: the key of a field of the linked table,
    or `id`; None: the field that stands for its rows. Raises InvalidRequest."""
    table = Table.objects.live().filter(pk=cast("int", field.options["table"])).first()
    if table is None or not has_access(reader, table, Access.READ):
        raise because(
            InvalidRequest,
            Reason.of("linked_table_denied", name=repr(field.name)),
            field=f"{where}.field",
        )
    if by == BY_ID:
        return Target(table.pk, None)
    if by is None:
        found = label_fields([table.pk], None).get(table.pk)
        if found is None:
            raise because(InvalidRequest, Reason("no_naming_field"), field=f"{where}.by")
        return Target(table.pk, found)
    named = Field.objects.filter(table=table, deleted_at=None, ai_field=None, kind__in=LABEL_KINDS)
    fields = {named_field.key: named_field for named_field in named}
    if not isinstance(by, str) or by not in fields:
        raise because(InvalidRequest, Reason("naming_field"), field=f"{where}.by")
    return Target(table.pk, fields[by])


class LinkFinder:
    """Finds the rows that cells name. `learn` reads what `find` looks up, many at a time."""

    def __init__(self, target: Target, dialect: Dialect) -> None:
        self._target = target
        self._dialect = dialect
        #: Ids of rows by name; None: no row has it. A number below 0: so many have it.
        self._known: dict[str, int | None] = {}
        self._known_bytes = 0

    def learn(self, cells: Iterable[JsonValue]) -> None:
        """Read the rows that these cells name. One query at the most."""
        wanted = {name for cell in cells for name in self._names(cell)}
        if self._known_bytes > MAX_KNOWN_BYTES:
            self._known.clear()
            self._known_bytes = 0
        if not (names := wanted - self._known.keys()):
            return
        self._known.update(dict.fromkeys(names))
        self._known_bytes += sum(len(name) + NAME_BYTES for name in names)
        self._known.update(self._read(names))

    def find(self, cell: JsonValue) -> list[int] | None:
        """The ids of the rows that a cell names. The whole of a text may be one name, or several
        with commas or semicolons between them. Raises CellError."""
        whole = _whole(cell)
        if whole is not None and self._known.get(whole) is not None:
            return [self._id_of(whole)]
        ids = list(dict.fromkeys(map(self._id_of, self._parts(cell))))
        if len(ids) > MAX_LINKS_A_CELL:
            raise CellError(Reason.of("too_many_links", limit=MAX_LINKS_A_CELL))
        return ids or None

    def _id_of(self, name: str) -> int:
        found = self._known.get(name)
        if found is None:
            raise CellError(Reason.of("no_linked_row", name=repr(name[:_SHOWN_CHARS])))
        if found < 0:
            shown = repr(name[:_SHOWN_CHARS])
            raise CellError(Reason.of("linked_rows", count=-found, name=shown))
        return found

    def _names(self, cell: JsonValue) -> set[str]:
        whole = _whole(cell)
        try:
            parts = self._parts(cell)
        except CellError:
            parts = []
        return {*parts, *([whole] if whole is not None else ())}

    def _parts(self, cell: JsonValue) -> list[str]:
        """The names in a cell. Raises CellError."""
        if cell is None or (isinstance(cell, str) and not cell.strip()):
            return []
        labels = parse_labels(cell, self._dialect) if isinstance(cell, str) else cell
        if not isinstance(labels, list):
            labels = [labels]
        for label in labels:
            if isinstance(label, bool) or not isinstance(label, str | int | float):
                raise CellError(Reason.of("names_no_rows"))
        return [str(label).strip().replace("\0", "\N{REPLACEMENT CHARACTER}") for label in labels]

    def _read(self, names: Collection[str]) -> Mapping[str, int]:
        field = self._target.name_field
        wanted: list[str] | list[int] = [*names]
        if field is None:
            named: sql.Composable = sql.SQL("o.id")
            value = named
            wanted = [int(name) for name in names if _is_row_id(name)]
        else:
            own = sql.SQL("o.{}").format(column(field.column))
            value = sql.SQL("trim_scale({})").format(own) if field.kind == Kind.NUMBER else own
            is_text = field.kind not in (Kind.NUMBER, Kind.INTEGER)
            # A text as it is may have an index.
            named = own if is_text else sql.SQL("({})::text").format(value)
        find = statement(_FIND, value=value, named=named, table=rows_table(self._target.table_id))
        found = fetch_rows(_Found, find, [wanted])
        return {row.name: row.id if row.rows == 1 else -row.rows for row in found}


def _is_row_id(name: str) -> bool:
    is_number = name.isascii() and name.isdecimal() and len(name) <= len(str(MAX_ROW_ID))
    return is_number and int(name) <= MAX_ROW_ID


def _whole(cell: JsonValue) -> str | None:
    """The cell as one name; None: it is a list, or empty."""
    if not isinstance(cell, str) or "\0" in cell:
        return None
    return cell.strip() or None
