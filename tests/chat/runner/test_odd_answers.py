"""What becomes of a task whose provider answers oddly: its state, its attempts, its text."""

from __future__ import annotations

from typing import Any

import pytest
from pytest_django import Settings

from accounts.models import User
from aily.database.threads import in_database
from chat.models import Provider, Status
from tests.chat.conftest import StartWorker, Submit, frames_of, row
from tests.chat.llm.calls import DONE, STOP, event, raw_provider, response, text_event
from tests.providers.playing import encoded, whole

HI = text_event("hi")


@pytest.fixture(autouse=True)
def _short_waits(settings: Settings) -> None:
    settings.TASK_RETRY_SECONDS = 0.02
    settings.TASK_MAX_FAILURES = 2


async def _task(
    alice: User, submit: Submit, start_worker: StartWorker, *pieces: bytes, end: str = "close"
) -> tuple[Any, int]:
    """A task's row when its provider sends this each time, and how often it was asked."""
    async with raw_provider(*pieces, end=end) as provider:
        await in_database(Provider.objects.update, base_url=provider.url)
        await start_worker()
        task_id = await submit("hi")
        await frames_of(task_id, alice)
        return await row(task_id), len(provider.requests)


@pytest.mark.parametrize(
    ("pieces", "code", "words", "attempts"),
    [
        (
            [response(HI, event('{"error":{"message":"no","code":"content_filter"}}'))],
            *("provider_bad_request", "no", 1),
        ),
        (
            [response(encoded({"error": {"code": "insufficient_quota"}}), status="429 x")],
            *("provider_balance", "insufficient_quota", 1),
        ),
        (
            [response(event('{"base_resp":{"status_code":1008,"status_msg":"empty"}}'))],
            *("provider_balance", "empty", 1),
        ),
        (
            [response(HI, event('{"choices":[{"delta":{},"finish_reason":"network_error"}]}'))],
            *("provider_error", "network_error", 2),
        ),
        ([response(HI)], "provider_truncated", "ended before", 2),
        (
            [response(HI, b'event: error\ndata: {"message":"busy","type":"overloaded_error"}\n\n')],
            *("provider_overloaded", "busy", 2),
        ),
        (
            [response(whole({"object": "error", "message": "nope", "code": 400}).body)],
            *("provider_bad_request", "nope", 1),
        ),
    ],
    ids=[
        *("refused content", "used up quota", "base_resp", "network_error", "cut text"),
        *("event: error", "an error object"),
    ],
)
async def test_an_error_is_retried_only_where_that_may_help(
    alice: User,
    submit_as_alice: Submit,
    start_worker: StartWorker,
    pieces: list[bytes],
    code: str,
    words: str,
    attempts: int,
) -> None:
    task, requests = await _task(alice, submit_as_alice, start_worker, *pieces)
    assert (task.status, task.error["code"]) == (Status.FAILED, code)
    assert words in task.error["message"]
    assert (task.attempt, requests) == (attempts, attempts)


async def test_too_long_an_answer_is_cut_and_says_so(
    alice: User, submit_as_alice: Submit, start_worker: StartWorker, settings: Settings
) -> None:
    settings.LLM_MAX_TEXT_BYTES = 1000
    pieces = [response(), *[text_event("é" * 100)] * 50]
    task, requests = await _task(alice, submit_as_alice, start_worker, *pieces, end="hold")
    assert (task.status, task.finish_reason, task.attempt) == (Status.SUCCEEDED, "length", 1)
    assert task.text == "é" * 500
    assert requests == 1


async def test_too_large_arguments_fail_the_task_at_once(
    alice: User, submit_as_alice: Submit, start_worker: StartWorker, settings: Settings
) -> None:
    settings.LLM_MAX_ARGUMENTS_BYTES = 1000
    call = '{"index":0,"id":"c","function":{"name":"f","arguments":"%s"}}' % ("a" * 2000)
    events = event(f'{{"choices":[{{"delta":{{"tool_calls":[{call}]}}}}]}}'), STOP, DONE
    task, requests = await _task(alice, submit_as_alice, start_worker, response(*events))
    assert (task.status, task.error["code"]) == (Status.FAILED, "provider_invalid_response")
    assert "larger than 1000 bytes" in task.error["message"]
    assert requests == 1


async def test_a_kept_connection_that_was_closed_costs_no_attempt(
    alice: User, submit_as_alice: Submit, start_worker: StartWorker, settings: Settings
) -> None:
    settings.TASK_MAX_FAILURES = 1
    body = HI + STOP + DONE
    answer = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
    # It closes each connection after its first response, and says nothing of it.
    async with raw_provider(answer) as provider:
        await in_database(Provider.objects.update, base_url=provider.url)
        await start_worker()
        for _ in range(3):
            task_id = await submit_as_alice("hi")
            await frames_of(task_id, alice)
            task = await row(task_id)
            assert (task.status, task.attempt, task.text) == (Status.SUCCEEDED, 1, "hi")
