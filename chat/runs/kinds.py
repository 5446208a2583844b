"""What the rows of a run are: where they are read, what is asked, where the results go.

The engine knows `Run`, `RunRow` and this interface. A kind is registered under the name in
`Run.kind`; others than runs of files register theirs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from uuid import UUID

from pydantic import JsonValue

from aily.database.rows import Row
from chat.models.runs import Run, RunRow
from chat.runs.reading import ParsedRow
from chat.services.submission import CompositeRequest


class RowResult(Row, frozen=True):
    """A row whose task has ended. `state` is the row's: pending if it is to be fed again."""

    run_id: UUID
    kind: str
    number: int
    key: str
    state: str
    task_id: UUID
    generation: int


class RunKind:
    """The source of a run's rows, and the sink of their results."""

    name: str
    #: Whether the file of a run is still needed once its rows are in the database.
    keeps_file = False

    def read_rows(self, run: Run) -> Iterator[ParsedRow]:
        """Source: read the rows of a run that is being validated. Raises FileError."""
        raise NotImplementedError

    def may_skip_invalid(self, run: Run) -> bool:
        """Whether a run goes on without its invalid rows; otherwise one fails it."""
        return True

    def request_of(self, run: Run, row: RunRow) -> CompositeRequest:
        """The request of a row. Raises Problem if there is none."""
        raise NotImplementedError

    def store_results(self, results: Sequence[RowResult]) -> None:
        """Sink: called in the transaction in which tasks are settled, once for each result."""

    def finish(self, run: Run) -> None:
        """Called before a run ends, with all of its rows ended; again if a process dies in it."""

    def announce(self, run: Run, event: str) -> None:
        """Called in the transaction that changes the run's state: make its deliveries."""

    def summary_of(self, payload: Mapping[str, JsonValue] | None) -> Mapping[str, JsonValue]:
        """A row's payload as columns of a table of results."""
        return payload or {}


_kinds: dict[str, RunKind] = {}


def register_kind(kind: RunKind) -> None:
    _kinds[kind.name] = kind


def kind_of(run: Run) -> RunKind:
    return _kinds[run.kind]


def kind_named(name: str) -> RunKind:
    return _kinds[name]
