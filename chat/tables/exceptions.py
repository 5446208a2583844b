"""The additions of tables to aily.problems.

InvalidRequest
└── InvalidValue     invalid_value     422  a value does not fit its field
Conflict
├── TableBusy        table_busy        409  others work on this table: repeat the request soon
├── CellConflict     cell_conflict     409  cells were changed by others; has their values
└── TableFull        table_full        409  no more rows, fields or tables
NotFound
└── SnapshotGone     snapshot_gone     404  a snapshot of a view is kept for minutes: open it again
Unavailable
└── QueryTimeout     query_timeout     503  a query takes longer than people wait for
"""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import JsonValue

from aily.problems import Conflict, InvalidRequest, NotFound, Unavailable


class InvalidValue(InvalidRequest):
    code, status, title = "invalid_value", 422, "Invalid value"


class TableBusy(Conflict):
    """Another transaction or an import holds what this change of the table needs."""

    code, title = "table_busy", "Table busy"

    def __init__(self, message: str = "Others are working on this table.") -> None:
        super().__init__(message, retry_after_seconds=2)


class TableFull(Conflict):
    code, title = "table_full", "Table full"


class CellConflict(Conflict):
    """`conflicts` has row, version, field and present value of each cell that others have changed.

    With a `row`, the other cells were changed: that is the row as it is now.
    """

    code, title = "cell_conflict", "Cell changed meanwhile"

    def __init__(
        self,
        conflicts: Sequence[dict[str, JsonValue]],
        row: dict[str, JsonValue] | None = None,
    ) -> None:
        super().__init__("Somebody else has changed this meanwhile.")
        self.conflicts = list(conflicts)
        self.row = row

    def details(self) -> dict[str, object]:
        found: dict[str, object] = {"conflicts": self.conflicts}
        return found if self.row is None else {**found, "row": self.row}


class SnapshotGone(NotFound):
    code, title = "snapshot_gone", "Snapshot gone"


class QueryTimeout(Unavailable):
    code, title = "query_timeout", "Query takes too long"

    def __init__(self, seconds: float) -> None:
        message = f"This takes more than {seconds:g} s. Ask for fewer rows, or without a sort."
        super().__init__(message, retry_after_seconds=5)
