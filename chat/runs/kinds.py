"""What the rows of a run are: where they are read, what is asked, where the results go.

The engine knows `Run`, `RunRow` and this interface. A kind is registered under the name in
`Run.kind`; others than runs of files register theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from pydantic import JsonValue

from aily.database.rows import Row
from aily.problems import Problem
from chat.exceptions import BudgetExceeded, ModelDisabled
from chat.models.runs import Run, RunRow
from chat.runs.reading import ParsedRow
from chat.services.submission import TaskRequest

#: Fields of a request that are the same in all rows of a scene: a refusal of one refuses all.
_COMMON_FIELDS = ("scene", "version", "model", "webhook", "metadata")


class RowResult(Row, frozen=True):
    """A row whose task has ended. `state` is the row's: pending if it is to be fed again."""

    run_id: UUID
    kind: str
    number: int
    key: str
    state: str
    task_id: UUID
    generation: int


@dataclass(frozen=True, slots=True)
class SampledRow:
    """A pending row with its payload, and its size in bytes as it was when it was selected."""

    number: int
    key: str
    payload: dict[str, JsonValue]
    bytes: int


@dataclass(frozen=True, slots=True)
class Prepared:
    """What becomes of rows that were about to be fed."""

    #: Are marked open.
    rows: list[RunRow]
    #: The payloads that are stored with the mark, as JSON, by the rows' numbers.
    payloads: dict[int, str] = field(default_factory=dict)
    #: Numbers of rows for which there is nothing to ask, each with why.
    skipped: dict[int, dict[str, object]] = field(default_factory=dict)
    #: Numbers of rows that something else has to end for first.
    waiting: list[int] = field(default_factory=list)


class RunKind:
    """The source of a run's rows, and the sink of their results."""

    name: str
    #: Whether the file of a run is still needed once its rows are in the database.
    keeps_file = False
    #: After how long a run goes on by itself that something is in the way of, such as a budget;
    #: None: it is paused until a person resumes it.
    halt_seconds: float | None = None
    #: Whether a run is paused whose rows all fail by an error that the next would have as well.
    stops_when_failing = True

    def read_rows(self, run: Run) -> Iterator[ParsedRow]:
        """Source: read the rows of a run that is being validated. Raises FileError."""
        raise NotImplementedError

    def may_skip_invalid(self, run: Run) -> bool:
        """Whether a run goes on without its invalid rows; otherwise one fails it."""
        return True

    def begin(self, run: Run) -> bool:
        """Called when a run is ready. Returns whether it was started or failed by this, as that
        is not for its owner to do."""
        return False

    def request_of(self, run: Run, row: RunRow) -> TaskRequest:
        """The request of a row. Raises Problem if there is none."""
        raise NotImplementedError

    def prepare(self, run: Run, rows: Sequence[RunRow]) -> Prepared:
        """Called in the transaction that marks these pending rows as open: what becomes of them.

        A kind that keeps no payloads gives each row its payload here, which is stored with the
        mark: whatever changes afterwards, the row's request stays the same. Raises Problem if no
        row of the run can be asked.
        """
        return Prepared(list(rows))

    def sample_rows(self, run: Run, limit: int) -> Sequence[SampledRow] | None:
        """Rows that stand for all, with their payloads; None: those that are stored have them."""
        return None

    def count_equal(self, run: Run) -> int:
        """How many of the rows to come ask what another one of them asks as well."""
        return 0

    def must_wait(self, run: Run) -> bool:
        """Whether another run goes before this one."""
        return False

    def refuses_all(self, run: Run, row: RunRow, refusal: Exception) -> bool:
        """Whether every row of the run would be refused for this."""
        if isinstance(refusal, BudgetExceeded | ModelDisabled):
            return True
        field = refusal.field or "" if isinstance(refusal, Problem) else ""
        return bool(run.scene) and field.split(".")[0] in _COMMON_FIELDS

    def may_watch(self, run: Run, user_id: int) -> bool:
        """Whether this user may follow the run's progress."""
        return False

    def error_of(self, run: Run, problem: Problem) -> dict[str, object]:
        """What is kept of a row that cannot be sent: `code`, `message`, `param` where a field is at
        fault, and `params`."""
        error: dict[str, object] = {"code": problem.code, "message": problem.message}
        if problem.field:
            error["param"] = problem.field
        return {**error, "params": problem.params} if problem.params else error

    def store_results(self, results: Sequence[RowResult]) -> None:
        """Sink: called in the transaction in which tasks are settled, once for each result."""

    def finish(self, run: Run, between: Callable[[], None]) -> None:
        """Called before a run ends, with all of its rows ended; again if a process dies in it.

        `between` is to be called every few seconds: it keeps the run's lease, and raises
        LeaseLostError if another process has taken the run.
        """

    def purge(self) -> None:
        """Delete what ended runs of this kind need no longer. Called every few minutes."""

    def announce(self, run: Run, event: str) -> None:
        """Called in the transaction that changes the run's state: make its deliveries."""


_kinds: dict[str, RunKind] = {}


def register_kind(kind: RunKind) -> None:
    _kinds[kind.name] = kind


def kind_of(run: Run) -> RunKind:
    return _kinds[run.kind]


def all_kinds() -> Sequence[RunKind]:
    return list(_kinds.values())


def kind_named(name: str) -> RunKind:
    return _kinds[name]
