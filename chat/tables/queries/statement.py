"""A statement on one user's table, as its parts are put together."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from psycopg import sql

from aily.problems import InvalidRequest
from chat.exceptions import because
from chat.reasons import Reason
from chat.tables.queries.operands import Operand, Operands

TRUE = sql.SQL("true")


@dataclass(slots=True)
class Statement:
    """Collects the parameters and joins that the parts of one statement need.

    No text of a user gets into the SQL: identifiers are made of ids, values are parameters.
    """

    table: sql.Composable
    operands: Operands
    params: dict[str, object] = field(default_factory=dict)
    #: By their text: the outputs of an AI field share one.
    _joins: dict[str, sql.Composable] = field(default_factory=dict)

    def param(self, value: object, kind: str) -> sql.Composable:
        """A placeholder for `value`, cast to this type of PostgreSQL's. `kind` is a constant."""
        name = f"p{len(self.params)}"
        self.params[name] = value
        return sql.SQL("{}::{}").format(sql.Placeholder(name), sql.SQL(kind))

    def operand(self, name: object, path: str) -> Operand:
        """The value named `name`, joined where it must be. Raises InvalidRequest naming `path`."""
        found = self.operands.get(name) if isinstance(name, str) else None
        if found is None:
            raise because(InvalidRequest, Reason("no_such_field"), field=path)
        if found.join is not None:
            self._joins[found.join.as_string()] = found.join
        return found

    def source(self) -> sql.Composable:
        """FROM with all joins. To be called once the other parts are made."""
        return sql.SQL(" ").join([sql.SQL("FROM {} t").format(self.table), *self._joins.values()])


def all_of(conditions: Iterable[sql.Composable]) -> sql.Composable:
    """The conditions joined by AND; true if there are none."""
    found = list(conditions)
    return sql.SQL("({})").format(sql.SQL(" AND ").join(found)) if found else TRUE


def any_of(conditions: Iterable[sql.Composable]) -> sql.Composable:
    """The conditions joined by OR; true if there are none: an empty group filters nothing."""
    found = list(conditions)
    return sql.SQL("({})").format(sql.SQL(" OR ").join(found)) if found else TRUE
