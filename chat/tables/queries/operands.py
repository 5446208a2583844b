"""What conditions, sorts and aggregates read of a row: values by their names in the API."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from psycopg import sql

#: The row that a statement reads is always `t`.
ROW = sql.Identifier("t")
ROW_ID = sql.SQL("{}.id").format(ROW)


@dataclass(frozen=True, slots=True)
class LinkedTable:
    """Where the rows are that a link field names, and the text that labels one of them."""

    #: The table of pairs (row_id, other_id, pos).
    pairs: sql.Composable
    table: sql.Composable
    #: An expression of the row `o` of `table`; None: the reader may not read that table, or it is
    #: gone. Then links are compared by ids alone.
    label: sql.Composable | None


@dataclass(frozen=True, slots=True)
class Operand:
    """One value of a row. `value` is an expression of the row `t`, and of what `join` adds."""

    name: str
    kind: str
    value: sql.Composable
    #: A LEFT JOIN that adds one row at most; None: the value is in the row itself.
    join: sql.Composable | None = None
    #: Makes the expression of the state of a value that a model makes; None: it has no state.
    state: Callable[[], sql.Composable] | None = None
    #: Ids of a select field's choices by name, in their order.
    choices: Mapping[str, int] = field(default_factory=dict)
    link: LinkedTable | None = None


Operands = Mapping[str, Operand]


def system_operands() -> dict[str, Operand]:
    """The values that each row has by itself."""
    columns = {"id": "integer", "pos": "float", "updated_at": "datetime"}
    return {
        name: Operand(name, kind, sql.SQL("{}.{}").format(ROW, sql.Identifier(name)))
        for name, kind in columns.items()
    }
