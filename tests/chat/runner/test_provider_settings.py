"""What a worker makes of a provider's row: what it may not do is an error that says so, at once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from accounts.models import User
from aily.database.threads import in_database
from chat.models import Provider
from tests.chat.conftest import StartWorker, Submit, frames_of, row
from tests.chat.llm.recorder import Recorder, running_recorder


@pytest.fixture
async def recorder(start_worker: StartWorker) -> AsyncIterator[Recorder]:
    async with running_recorder() as recorder:
        await in_database(Provider.objects.update, base_url=recorder.url)
        yield recorder


async def outcome(alice: User, submit: Submit, start_worker: StartWorker, **fields: Any) -> Any:
    """How a task ends at a provider with these settings."""
    await in_database(Provider.objects.update, **fields)
    await start_worker()
    task_id = await submit("hi")
    await frames_of(task_id, alice)
    task = await row(task_id)
    return task.status, task.attempt, task.error or {}


@pytest.mark.parametrize(
    ("settings_of_row", "code", "words"),
    [
        ({"public_only": True}, "provider_forbidden_address", "PROVIDER_ALLOW_PRIVATE"),
        ({"base_url": "http://169.254.169.254/v1"}, "provider_forbidden_address", "169.254"),
        ({"base_url": "http://[fd00:ec2::254]/v1"}, "provider_forbidden_address", "fd00:ec2"),
        ({"api_key_env": "SECRET_KEY"}, "provider_auth", "may not be sent to a provider"),
        ({"api_key_env": "LLM_KEY_NOBODY_HAS_SET"}, "provider_auth", "is not set"),
        ({"encrypted_keys": "of another SECRET_KEY"}, "provider_auth", "enter them anew"),
    ],
)
async def test_what_may_not_be_called_fails_at_once_and_is_sent_nothing(
    alice: User,
    submit_as_alice: Submit,
    start_worker: StartWorker,
    recorder: Recorder,
    monkeypatch: pytest.MonkeyPatch,
    settings_of_row: dict[str, Any],
    code: str,
    words: str,
) -> None:
    monkeypatch.setenv("SECRET_KEY", "very secret")
    status, attempt, error = await outcome(alice, submit_as_alice, start_worker, **settings_of_row)
    assert (status, attempt, error["code"]) == ("failed", 1, code)
    assert words in error["message"]
    assert recorder.connections == 0


async def test_settings_of_a_row_apply_to_calls(
    alice: User,
    submit_as_alice: Submit,
    start_worker: StartWorker,
    recorder: Recorder,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LLM_KEY_ACME", "sk-1")
    status, _, _ = await outcome(
        alice, submit_as_alice, start_worker,
        base_url=f"{recorder.url}/openai?api-version=1", api_key_env="LLM_KEY_ACME",
        key_header="api-key", request_fields={"stream_options": None, "user_id": "end_user"},
    )  # fmt: skip
    assert status == "succeeded"
    assert recorder.last.line == "POST /openai/chat/completions?api-version=1 HTTP/1.1"
    assert recorder.last.header("api-key") == "sk-1"
    assert recorder.last.header("authorization") is None
    assert recorder.last.body.keys() == {"model", "messages", "stream", "end_user"}
