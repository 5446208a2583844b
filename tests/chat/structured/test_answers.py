"""Tasks with a JSON Schema, from the submit to the stored answer."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from accounts.models import User
from aily.database.threads import in_database
from aily.redis.clients import async_redis
from chat.eventlog.keys import log_key
from chat.llm.simulator.server import Simulator
from chat.models import Conversation, Message, Provider, Status, Task
from chat.models.provider_fields import StructuredOutput
from chat.runner import pools
from chat.services.retry import retry_many
from tests.chat.conftest import StartWorker, Submit, frames_of, row, until
from tests.chat.structured.conftest import Play
from tests.chat.structured.scripted import (
    ADA,
    COMPLETION_TOKENS,
    NOBODY,
    PERSON,
    PROMPT_TOKENS,
    Answer,
    error_of,
    format_of,
)
from tests.client import TaskFrames


async def answered(
    alice: User, submit: Submit, prompt: str = "Who?", **fields: Any
) -> tuple[Task, TaskFrames]:
    """A task for a person, once it has ended, and what a reader of it was sent."""
    task_id = await submit(prompt, **{"response_format": format_of(), **fields})
    frames = await frames_of(task_id, alice)
    frames.check_ids()
    return await row(task_id), frames


def end_of(frames: TaskFrames) -> dict[str, Any]:
    assert frames.end is not None
    return frames.end


# --- Asking -------------------------------------------------------------------------------------
async def test_json_mode_is_told_the_schema_in_its_own_order(
    alice: User, submit_as_alice: Submit, play: Play
) -> None:
    provider = await play(ADA)
    schema = {"type": "object", "properties": {"zebra": {}, "ant": {}, "b": {}}}
    task, frames = await answered(alice, submit_as_alice, response_format=format_of(schema))
    [body] = provider.bodies
    assert body["response_format"] == {"type": "json_object"}
    system, question = body["messages"]
    assert (system["role"], question) == ("system", {"role": "user", "content": "Who?"})
    assert system["content"].endswith(json.dumps(schema))
    assert (task.status, task.text, task.attempt) == (Status.SUCCEEDED, ADA, 1)
    assert end_of(frames)["result"]["output"] == json.loads(ADA)


async def test_instructions_of_the_request_come_before_the_schema(
    alice: User, submit_as_alice: Submit, play: Play
) -> None:
    provider = await play(ADA)
    for content in ("Be brief.", [{"type": "text", "text": "Be brief."}]):
        messages = [{"role": "system", "content": content}, {"role": "user", "content": "Who?"}]
        await answered(alice, submit_as_alice, messages=messages)
        sent = provider.bodies[-1]["messages"]
        assert [message["role"] for message in sent] == ["system", "user"]
        assert "Be brief." in json.dumps(sent[0]["content"])
        assert "JSON Schema" in json.dumps(sent[0]["content"])


async def test_a_native_provider_is_sent_the_format_as_it_is(
    alice: User, submit_as_alice: Submit, play: Play
) -> None:
    provider = await play(ADA, mode="native")
    asked = format_of(strict=True, description="Somebody.")
    task, frames = await answered(alice, submit_as_alice, response_format=asked)
    [body] = provider.bodies
    assert json.dumps(body["response_format"]) == json.dumps(asked)
    assert body["messages"] == [{"role": "user", "content": "Who?"}]
    assert (task.text, frames.text) == (ADA, ADA)


@pytest.mark.parametrize(
    ("mode", "schema"), [("prompt", PERSON), ("json_object", {"type": "array"})]
)
async def test_what_json_mode_cannot_do_is_left_to_the_prompt(
    alice: User, submit_as_alice: Submit, play: Play, mode: str, schema: dict[str, Any]
) -> None:
    provider = await play(ADA if schema is PERSON else "[1]", mode=mode)
    task, _ = await answered(alice, submit_as_alice, response_format=format_of(schema))
    assert "response_format" not in provider.bodies[0]
    assert "JSON Schema" in provider.bodies[0]["messages"][0]["content"]
    assert task.status == Status.SUCCEEDED


async def test_a_provider_that_refuses_schemas_is_asked_in_json_mode_from_then_on(
    alice: User, submit_as_alice: Submit, play: Play
) -> None:
    no = Answer(status=400, error="This response_format type is unavailable now")
    provider = await play(no, ADA, mode="")
    for _ in range(2):
        task, _frames = await answered(alice, submit_as_alice)
        assert (task.status, task.attempt, task.failures) == (Status.SUCCEEDED, 1, 0)
    kinds = [body["response_format"]["type"] for body in provider.bodies]
    assert kinds == ["json_schema", "json_object", "json_object"]


async def test_calls_that_were_under_way_at_the_first_refusal_are_asked_again_as_well(
    alice: User, submit_as_alice: Submit, play: Play
) -> None:
    gate = asyncio.Event()
    no = Answer(status=400, error="response_format: unknown", until=gate)
    provider = await play(no, no, ADA, mode="")
    task_ids = [await submit_as_alice("Who?", response_format=format_of()) for _ in range(2)]
    await until(lambda: len(provider.bodies) == 2)
    gate.set()
    for task_id in task_ids:
        await frames_of(task_id, alice)
        assert (await row(task_id)).text == ADA


async def test_a_provider_that_knows_no_format_at_all_is_told_in_the_prompt(
    alice: User, submit_as_alice: Submit, play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    no = Answer(status=400, error="Unknown field: response_format")
    provider = await play(no, no, ADA, mode="")
    for _ in range(2):
        assert (await answered(alice, submit_as_alice))[0].status == Status.SUCCEEDED
    kinds = [body.get("response_format", {}).get("type") for body in provider.bodies]
    assert kinds == ["json_schema", "json_object", None, None]
    # A while later it may have learnt it.
    monkeypatch.setattr(pools, "REFUSAL_SECONDS", 0.0)
    [pool] = play.workers[0].pools
    [deployment] = pool.deployments.values()
    deployment.learnt_output.note_refused(StructuredOutput.NATIVE)
    await answered(alice, submit_as_alice)
    assert provider.bodies[-1]["response_format"]["type"] == "json_schema"


async def test_a_mode_that_staff_change_holds_from_the_next_call_on(
    alice: User, submit_as_alice: Submit, play: Play
) -> None:
    gate = asyncio.Event()
    provider = await play(Answer(ADA[20:], first=ADA[:20], until=gate))
    task_id = await submit_as_alice("Who?", response_format=format_of())
    await until(lambda: provider.bodies)
    [pool] = play.workers[0].pools
    [deployment] = pool.deployments.values()
    deployment.structured_output = StructuredOutput.NATIVE
    gate.set()
    frames = await frames_of(task_id, alice)
    assert frames.text == (await row(task_id)).text == ADA


async def test_a_provider_that_is_said_to_know_schemas_may_refuse_one(
    alice: User, submit_as_alice: Submit, play: Play
) -> None:
    no = Answer(status=400, error="Invalid schema for response_format 'person'")
    provider = await play(no, mode="native")
    task, _ = await answered(alice, submit_as_alice)
    assert (task.status, error_of(task)["code"]) == (Status.FAILED, "provider_bad_request")
    assert len(provider.bodies) == 1


async def test_the_simulated_provider_answers_by_schemas_that_it_refuses(
    alice: User, submit_as_alice: Submit, start_worker: StartWorker, simulator: Simulator
) -> None:
    await start_worker()
    task, frames = await answered(alice, submit_as_alice)
    assert (task.status, task.attempt) == (Status.SUCCEEDED, 1)
    assert end_of(frames)["result"]["output"].keys() == PERSON["properties"].keys()
    assert simulator.stats.errors == 1


# --- Answers that fit ---------------------------------------------------------------------------
@pytest.mark.parametrize(
    "text",
    [f"```json\n{ADA}\n```", f"```\n{ADA}```", f"Here you are:\n\n{ADA}\n\nAnything else?"],
    ids=["fence", "bare fence", "words"],
)
@pytest.mark.parametrize("mode", ["json_object", "prompt"])
async def test_fences_and_words_around_the_json_are_left_out(
    alice: User, submit_as_alice: Submit, play: Play, text: str, mode: str
) -> None:
    await play(text, mode=mode)
    task, frames = await answered(alice, submit_as_alice)
    assert (task.status, task.attempt, task.text) == (Status.SUCCEEDED, 1, ADA)
    assert frames.text == ADA
    assert end_of(frames)["result"]["text"] == ADA


async def test_a_fence_around_a_text_that_streams_is_an_error_to_repair(
    alice: User, submit_as_alice: Submit, play: Play
) -> None:
    await play(f"```json\n{ADA}\n```", ADA, mode="native")
    task, frames = await answered(alice, submit_as_alice)
    assert (task.status, task.attempt, task.text, frames.text) == (Status.SUCCEEDED, 2, ADA, ADA)
    assert "task.snapshot" not in frames.types


# --- Repairing ----------------------------------------------------------------------------------
@pytest.mark.parametrize("mode", ["json_object", "native", "prompt"])
async def test_an_answer_that_does_not_fit_is_repaired_once(
    alice: User, submit_as_alice: Submit, play: Play, mode: str
) -> None:
    provider = await play(NOBODY, ADA, mode=mode)
    task, frames = await answered(alice, submit_as_alice)
    assert (task.status, task.attempt, task.failures) == (Status.SUCCEEDED, 2, 0)
    assert (task.text, frames.text, task.finish_reason) == (ADA, ADA, "stop")
    *_, answer, told = provider.bodies[1]["messages"]
    assert answer == {"role": "assistant", "content": NOBODY}
    assert told["role"] == "user"
    assert "$.age: 'thirty-six' is not of type 'integer'" in told["content"]
    assert "$.tags" in told["content"]
    # A provider that ignored the format is told the schema now.
    assert "JSON Schema" in provider.bodies[1]["messages"][0]["content"]


async def test_text_that_is_still_to_be_checked_is_shown_to_nobody(
    alice: User, submit_as_alice: Submit, play: Play
) -> None:
    await play(NOBODY, ADA)
    _, frames = await answered(alice, submit_as_alice)
    assert frames.types == ["task.started", "task.started", "task.delta", "task.completed"]
    assert "thirty-six" not in json.dumps(frames.frames)


async def test_text_of_a_model_that_keeps_to_schemas_is_dropped_when_it_does_not(
    alice: User, submit_as_alice: Submit, play: Play
) -> None:
    await play(NOBODY, ADA, mode="native")
    _, frames = await answered(alice, submit_as_alice)
    assert frames.types.count("task.started") == 2
    assert frames.text == ADA


@pytest.mark.parametrize("text", [NOBODY, "No."], ids=["other JSON", "no JSON"])
@pytest.mark.parametrize("mode", ["json_object", "native"])
async def test_a_stubborn_model_fails_the_task_and_its_text_is_kept(
    alice: User, submit_as_alice: Submit, play: Play, text: str, mode: str
) -> None:
    provider = await play(text, mode=mode)
    task, frames = await answered(alice, submit_as_alice)
    assert (task.status, error_of(task)["code"]) == (Status.FAILED, "invalid_output")
    assert (task.text, task.finish_reason) == (text, "")
    assert (task.attempt, len(provider.bodies)) == (2, 2)
    assert end_of(frames)["error"] == task.error
    # A reader is sent it only where answers are shown as they are written.
    assert frames.text == (text if mode == "native" else "")
    assert (task.repair or {})["text"] == text
    # From the row, too, a reader is sent all there is.
    await async_redis().delete(log_key(str(task.pk)))
    again = await frames_of(str(task.pk), alice)
    again.check_ids()
    assert (again.text, end_of(again)["error"]) == (text, task.error)


async def test_both_calls_are_counted(alice: User, submit_as_alice: Submit, play: Play) -> None:
    await play(NOBODY, ADA)
    task, frames = await answered(alice, submit_as_alice)
    counted = [task.usage["prompt_tokens"], task.usage["completion_tokens"]]
    assert counted == [2 * PROMPT_TOKENS, 2 * COMPLETION_TOKENS]
    assert end_of(frames)["usage"] == task.usage


async def test_a_repair_is_tried_again_when_the_provider_fails(
    alice: User, submit_as_alice: Submit, play: Play, settings: Any
) -> None:
    settings.TASK_RETRY_SECONDS = 0.02
    provider = await play(NOBODY, Answer(status=500, error="broken"), ADA)
    task, _ = await answered(alice, submit_as_alice)
    assert (task.status, task.attempt, task.text) == (Status.SUCCEEDED, 3, ADA)
    assert provider.bodies[2]["messages"] == provider.bodies[1]["messages"]
    assert task.usage["prompt_tokens"] == 2 * PROMPT_TOKENS


async def test_a_repair_that_the_provider_refuses_fails_as_the_provider_says(
    alice: User, submit_as_alice: Submit, play: Play
) -> None:
    await play(NOBODY, Answer(status=400, error="too long"))
    task, _ = await answered(alice, submit_as_alice)
    assert (task.status, error_of(task)["code"]) == (Status.FAILED, "provider_bad_request")
    assert task.usage["prompt_tokens"] == PROMPT_TOKENS


# --- Ends that have a meaning of their own ------------------------------------------------------
@pytest.mark.parametrize("reason", ["length", "content_filter"])
async def test_a_cut_answer_is_cut_and_not_held_against_the_schema(
    alice: User, submit_as_alice: Submit, play: Play, reason: str
) -> None:
    provider = await play(Answer(ADA[:20], finish=reason))
    task, frames = await answered(alice, submit_as_alice)
    assert (task.status, task.finish_reason, task.text) == (Status.SUCCEEDED, reason, ADA[:20])
    assert frames.text == ADA[:20]
    assert "output" not in end_of(frames)["result"]
    assert len(provider.bodies) == 1


@pytest.mark.parametrize("mode", ["native", ""])
async def test_a_refusal_is_no_answer_that_does_not_fit(
    alice: User, submit_as_alice: Submit, play: Play, mode: str
) -> None:
    provider = await play(Answer(refusal="I will not."), mode=mode)
    task, frames = await answered(alice, submit_as_alice)
    assert (task.status, task.finish_reason) == (Status.SUCCEEDED, "refusal")
    assert (task.text, len(provider.bodies)) == ("I will not.", 1)
    result = end_of(frames)["result"]
    assert (result["text"], result["finish_reason"]) == ("I will not.", "refusal")
    assert "output" not in result
    # Clients can tell it from an answer only by the end.
    assert frames.text == ("I will not." if mode else "")


async def test_tool_calls_are_no_answer_yet(
    alice: User, submit_as_alice: Submit, start_worker: StartWorker
) -> None:
    await start_worker()
    tools = [{"type": "function", "function": {"name": "look_up", "parameters": {}}}]
    task, _ = await answered(alice, submit_as_alice, "[sim:tool]", tools=tools)
    assert (task.status, task.finish_reason) == (Status.SUCCEEDED, "tool_calls")
    assert task.tool_calls[0]["name"] == "look_up"


# --- What else stays the same -------------------------------------------------------------------
async def test_a_retried_task_asks_for_the_same(
    alice: User, submit_as_alice: Submit, play: Play
) -> None:
    provider = await play("No.")
    task, _ = await answered(alice, submit_as_alice)
    assert await in_database(retry_many, [task.pk]) == 1
    again = await in_database(Task.objects.exclude(pk=task.pk).get)
    await frames_of(str(again.pk), alice)
    assert provider.bodies[2] == provider.bodies[0]
    assert again.response_format == task.response_format


async def test_a_conversation_keeps_the_answer_that_fits_and_no_other(
    alice: User, submit_as_alice: Submit, play: Play
) -> None:
    provider = await play(NOBODY, f"```json\n{ADA}\n```", "No.")
    conversation = await in_database(Conversation.objects.create, owner=alice)
    for status in (Status.SUCCEEDED, Status.FAILED):
        task, _ = await answered(alice, submit_as_alice, conversation_id=str(conversation.pk))
        assert task.status == status
    kept = await in_database(lambda: list(Message.objects.values_list("role", "content")))
    assert sorted(kept) == [("assistant", ADA), ("user", "Who?"), ("user", "Who?")]
    history = provider.bodies[2]["messages"][1:]
    assert [message["content"] for message in history] == ["Who?", ADA, "Who?"]


async def test_json_mode_without_a_schema_is_not_checked(
    alice: User, submit_as_alice: Submit, play: Play
) -> None:
    provider = await play("No.")
    asked = {"type": "json_object"}
    task, frames = await answered(alice, submit_as_alice, response_format=asked)
    assert (task.status, task.text) == (Status.SUCCEEDED, "No.")
    assert provider.bodies[0]["response_format"] == asked
    assert "output" not in end_of(frames)["result"]


async def test_a_model_that_is_not_to_be_sent_a_format_is_told_in_the_prompt(
    alice: User, submit_as_alice: Submit, play: Play
) -> None:
    await in_database(lambda: Provider.objects.update(request_fields={"response_format": None}))
    provider = await play(ADA, mode="native")
    task, _ = await answered(alice, submit_as_alice)
    assert task.status == Status.SUCCEEDED
    assert "response_format" not in provider.bodies[0]
    assert "JSON Schema" in provider.bodies[0]["messages"][0]["content"]
