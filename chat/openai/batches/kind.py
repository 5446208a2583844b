"""What the engine of runs asks of a batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from http import HTTPStatus
from typing import Any

from django.db.models.functions import Coalesce, Now

from aily.problems import Problem
from chat.models import Batch, Run, RunRow, RunState, Task
from chat.models.files import read_pieces
from chat.openai.batches import purging
from chat.openai.batches.lines import BODY, LineReader
from chat.openai.batches.objects import event_data
from chat.openai.batches.output import write_files
from chat.openai.batches.requests import error_of, request_of
from chat.openai.errors import OpenAIError
from chat.openai.files.store import purge_expired
from chat.runs import announcing, clock
from chat.runs.kinds import RunKind
from chat.runs.reading import FileError, ParsedRow
from chat.runs.retention import delete_rows
from chat.runs.states import change_state
from chat.services.rendering import render_now
from chat.services.submission import TaskRequest
from chat.services.submit import Submission
from chat.services.submit.draft import draft_tasks

KIND = "batch"
#: Rows that are tried to find the model: the others fail by themselves.
_TRIED_ROWS = 20
_EVENTS = {
    "run.completed": "batch.completed",
    "run.failed": "batch.failed",
    "run.cancelled": "batch.cancelled",
    "run.expired": "batch.expired",
}


class BatchRuns(RunKind):
    """The kind of the runs of `/v1/batches`."""

    name = KIND
    keeps_file = True
    #: Nobody can resume a batch: what is in the way is tried again.
    halt_seconds = 30.0
    #: A request that the provider refuses is a line of the error file, however many there are.
    stops_when_failing = False

    def read_rows(self, run: Run) -> Iterator[ParsedRow]:
        if run.input_file_id is None:
            raise FileError("no_file", "The file of this batch is gone.")
        reader = LineReader(run.batch.endpoint)
        yield from reader.read(read_pieces(run.input_file_id))
        run.source["model"] = reader.model

    def may_skip_invalid(self, run: Run) -> bool:
        return False

    def request_of(self, run: Run, row: RunRow) -> TaskRequest:
        payload: dict[str, Any] = row.payload or {}
        return request_of(run.batch.endpoint, run.owner_id, payload[BODY])

    def error_of(self, run: Run, problem: Problem) -> dict[str, object]:
        error = error_of(run.batch.endpoint, problem)
        return {**error.body()["error"], "status": error.status}  # type: ignore[dict-item]

    def begin(self, run: Run) -> bool:
        """Start the batch, unless its model is none that its owner may use: then it fails."""
        drafts = self._drafts(run)
        tasks = [draft for draft in drafts if isinstance(draft, Task)]
        errors = [_as_error(run, draft) for draft in drafts if isinstance(draft, Problem)]
        unusable = [error for error in errors if error.code == "model_not_found"]
        if not tasks and unusable:
            self._fail(run, unusable[0])
            return True
        fields: dict[str, Any] = {"started_at": clock.now()}
        if tasks:
            fields["model"] = tasks[0].model
        change_state(run, [RunState.READY], RunState.RUNNING, **fields)
        return True

    def finish(self, run: Run, between: Callable[[], None]) -> None:
        Batch.objects.filter(pk=run.pk).update(finalizing_at=Coalesce("finalizing_at", Now()))
        batch = Batch.objects.get(pk=run.pk)
        if batch.written_at is None and run.total:
            write_files(run, batch, between)

    def purge(self) -> None:
        purging.purge_rows()
        purge_expired()

    def announce(self, run: Run, event: str) -> None:
        if event in _EVENTS:
            announcing.create_webhooks(run, _EVENTS[event], event_data(run))

    def _drafts(self, run: Run) -> list[Task | Exception]:
        rows = RunRow.objects.filter(run=run, state="pending").order_by("number")[:_TRIED_ROWS]
        submissions, problems = [], []
        for row in rows:
            try:
                request = self.request_of(run, row)
            except Problem as problem:
                problems.append(problem)
            else:
                submissions.append(
                    Submission(owner_id=run.owner_id, request=request, api_key_id=run.api_key_id)
                )
        return [*draft_tasks(submissions, render_now), *problems]

    def _fail(self, run: Run, error: OpenAIError) -> None:
        line = RunRow.objects.filter(run=run).order_by("number").values_list("line", flat=True)
        wrong = {
            "code": error.code,
            "line": line.first(),
            "message": error.message,
            "param": "body.model",
        }
        counts: dict[str, Any] = dict.fromkeys(("total", "pending", "invalid", "input_bytes"), 0)
        changed = change_state(
            run,
            [RunState.READY],
            RunState.FAILED,
            reason="invalid_file",
            message=error.message,
            errors=[wrong],
            ended_at=clock.now(),
            **counts,
        )
        if changed:
            delete_rows(run.pk)


def _as_error(run: Run, problem: Problem) -> OpenAIError:
    error = error_of(run.batch.endpoint, problem)
    return error if error.status == HTTPStatus.NOT_FOUND else OpenAIError(error.status, "")
