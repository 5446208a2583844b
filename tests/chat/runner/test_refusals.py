"""A statement that PostgreSQL refuses is no outage: its task fails, and no other waits for it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

import msgspec
import psycopg
import pytest
from django.db import DataError, InternalError, OperationalError, connection

from accounts.models import User
from aily.database.errors import is_outage, may_be_refused
from aily.database.threads import in_database
from chat.llm.types import ChatRequest, Completion, Delta, TimeLimits, Upstream
from chat.models import Status, Task, transitions
from chat.runner import storage
from chat.runner.runtime import Runtime
from chat.services.cancel import cancel
from tests.chat.conftest import Submit, eventually, frames_of, row, until

#: SQLSTATEs: whether the same statement may succeed later, and whether that is uncertain.
STATES: dict[str, tuple[type[Exception], bool, bool]] = {
    "08006": (OperationalError, True, False),  # connection failure
    "25006": (InternalError, True, False),  # the server has become a standby
    "40001": (OperationalError, True, False),  # serialization failure
    "40P01": (OperationalError, True, False),  # deadlock
    "53100": (OperationalError, True, False),  # disk full
    "53200": (OperationalError, True, True),  # out of memory
    "53300": (OperationalError, True, False),  # too many connections
    "55P03": (OperationalError, True, False),  # lock not available
    "57014": (OperationalError, True, True),  # statement timeout
    "57P01": (OperationalError, True, False),  # admin shutdown
    "57P03": (OperationalError, True, False),  # cannot connect now
    "22001": (DataError, False, False),  # too long
    "22P05": (DataError, False, False),  # untranslatable character
    "54000": (OperationalError, False, False),  # program limit exceeded
    "XX000": (InternalError, False, False),  # invalid memory alloc request size
}


@pytest.mark.parametrize(("state", "expected"), STATES.items(), ids=STATES)
def test_the_servers_code_distinguishes_outages_from_refusals(
    state: str, expected: tuple[type[Exception], bool, bool]
) -> None:
    kind, is_away, is_doubtful = expected
    error = kind("as Django raises it")
    error.__cause__ = psycopg.errors.lookup(state)("as psycopg does")
    assert (is_outage(error), is_outage(error) and may_be_refused(error)) == (is_away, is_doubtful)


def test_a_connection_that_just_ended_may_have_been_ended_by_the_statement() -> None:
    error = OperationalError("server closed the connection unexpectedly")
    assert is_outage(error)
    assert may_be_refused(error)


@pytest.fixture
def _refuses(transactional_db: None) -> Iterator[None]:
    """Has PostgreSQL refuse the ends of answers that begin with an SQLSTATE, with that."""
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE FUNCTION refuse_end() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
            "IF NEW.text LIKE 'SQLSTATE %' THEN "
            "RAISE EXCEPTION 'refused' USING ERRCODE = substr(NEW.text, 10, 5); "
            "END IF; RETURN NEW; END $$;"
            "CREATE TRIGGER refuse_end BEFORE UPDATE ON chat_task "
            "FOR EACH ROW EXECUTE FUNCTION refuse_end()"
        )
    yield
    with connection.cursor() as cursor:
        cursor.execute("DROP FUNCTION IF EXISTS refuse_end CASCADE")


def say_poison(
    worker: Runtime, monkeypatch: pytest.MonkeyPatch, finish_reason: str = "stop"
) -> None:
    """Have the provider answer "Bad 54000" with "SQLSTATE 54000", and go on as it does."""
    ask = worker.client.ask

    async def poisoned(
        upstream: Upstream,
        request: ChatRequest,
        limits: TimeLimits,
        on_delta: Callable[[Delta], None],
        *rest: Any,
    ) -> Completion:
        bad = re.search(rb"Bad (\w{5})", msgspec.json.encode(request.messages))
        if bad:
            on_delta(Delta(f"SQLSTATE {bad[1].decode()} ", ""))
        completion = await ask(upstream, request, limits, on_delta, *rest)
        if not bad:
            return completion
        return msgspec.structs.replace(completion, finish_reason=finish_reason)

    monkeypatch.setattr(worker.client, "ask", poisoned)


@pytest.mark.usefixtures("_refuses")
async def test_ends_that_are_refused_fail_their_tasks_alone(
    worker: Runtime, submit_as_alice: Submit, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "RETRY_SECONDS", (0.01,))
    say_poison(worker, monkeypatch)
    bad = [f"Bad {state}" for state in ("54000", "XX000", "22001", "53200", "57014")]
    prompts = [*bad, *(f"Good {number}" for number in range(5))]
    task_ids = await asyncio.gather(*map(submit_as_alice, prompts))
    ends = [(await frames_of(task_id, alice)).types[-1] for task_id in task_ids]
    assert ends == ["task.failed"] * 5 + ["task.completed"] * 5
    for task_id in task_ids[:5]:
        task = await row(task_id)
        assert (task.status, task.error, task.text) == (Status.FAILED, transitions.INTERNAL, "")


@pytest.mark.usefixtures("_refuses")
async def test_while_it_is_unknown_whether_an_end_is_refused_others_are_stored(
    worker: Runtime,
    submit_as_alice: Submit,
    alice: User,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(storage, "RETRY_SECONDS", (0.05,))
    monkeypatch.setattr(
        storage.retry_until_database_returns, "__kwdefaults__", {"max_failures": 1_000_000}
    )
    say_poison(worker, monkeypatch)
    bad = await submit_as_alice("Bad 53200")
    await until(lambda: any(call.was_answered for call in worker.calls.by_task.values()))
    good = [await submit_as_alice(f"Good {number}") for number in range(3)]
    for task_id in good:
        assert (await frames_of(task_id, alice)).types[-1] == "task.completed"
    assert (await row(bad)).status == Status.RUNNING
    await in_database(lambda: connection.cursor().execute("DROP FUNCTION refuse_end CASCADE"))
    succeeded = Task.objects.filter(pk=bad, status=Status.SUCCEEDED)
    await eventually(lambda: in_database(succeeded.all().exists))


async def test_an_end_that_cannot_even_be_written_as_json_fails_its_task_alone(
    worker: Runtime, submit_as_alice: Submit, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    say_poison(worker, monkeypatch, "\ud800")
    task_ids = await asyncio.gather(*map(submit_as_alice, ["Bad 00000", "Good 1", "Good 2"]))
    frames = [await frames_of(task_id, alice) for task_id in task_ids]
    assert [received.types[-1] for received in frames] == ["task.failed", *["task.completed"] * 2]
    assert (await row(task_ids[0])).error == transitions.INTERNAL


@pytest.mark.usefixtures("_refuses")
async def test_a_partial_answer_that_is_refused_leaves_the_task_cancelled(
    worker: Runtime,
    submit_as_alice: Submit,
    alice: User,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    say_poison(worker, monkeypatch)
    task_id = await submit_as_alice("Bad 54000 [sim:stall=middle,tokens=10]")
    await until(lambda: any(call.log.text for call in worker.calls.by_task.values()))
    await cancel(alice.pk, UUID(task_id))
    assert (await frames_of(task_id, alice)).types[-1] == "task.cancelled"
    assert (await row(task_id)).status == Status.CANCELLED
