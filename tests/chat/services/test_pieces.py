"""Answers of megabytes: no frame is larger than common clients take, and the text is whole."""

from __future__ import annotations

from contextlib import aclosing
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from django.utils import timezone

from accounts.models import User
from aily.database.threads import in_database
from aily.redis.clients import async_redis
from chat import eventlog
from chat.eventlog import LogWriter
from chat.eventlog.keys import log_key
from chat.events import (
    FRAME_BYTES,
    PIECE_CHARS,
    START,
    EventId,
    TaskCompleted,
    TaskFailed,
    cut,
    encode,
)
from chat.models import Status, Task
from chat.services.follow import follow
from tests.chat.conftest import Submit
from tests.client import TaskFrames

#: Some of it takes JSON six bytes a character, some four; 2.5 MB in all.
TEXT = ("\x01" * 20 + "🚀" * 10 + "word " * 10) * 12_000
REASONING = "Hm. " * 30_000


async def read(task_id: str, owner: User, after: EventId = START) -> TaskFrames:
    frames = TaskFrames()
    async with aclosing(follow(task_id, owner.pk, after)) as followed:
        async for piece in followed:
            assert len(piece.frame) <= FRAME_BYTES
            frames.add(msgspec.json.decode(piece.frame))
    return frames


async def commit_the_end(task_id: str, last_event: int, **fields: Any) -> None:
    ended = {
        "status": Status.SUCCEEDED,
        "attempt": 1,
        "last_event": last_event,
        "text": TEXT,
        "reasoning": REASONING,
        "finished_at": timezone.now() - timedelta(hours=1),
    }
    await in_database(Task.objects.filter(pk=task_id).update, **{**ended, **fields})


@pytest.mark.parametrize("last_event", [500, 3, 1])
async def test_a_row_stands_in_for_its_log_in_pieces(
    submit_as_alice: Submit, alice: User, last_event: int
) -> None:
    """With room for the ids of all pieces, and without."""
    task_id = await submit_as_alice("Hello")
    await commit_the_end(task_id, last_event)
    await async_redis().delete(log_key(task_id))
    frames = await read(task_id, alice)
    assert (frames.text, frames.reasoning) == (TEXT, REASONING)
    assert frames.end is not None
    assert frames.end["id"] == f"1-{last_event}"
    assert frames.end["is_truncated"] is True
    assert frames.end["result"]["text"] is None
    if last_event == 500:
        assert len(frames.logged) == len(frames.frames) > 20
        frames.check_ids()
    # After any but the last of them the text comes anew, whole.
    for frame in frames.frames[: -2 : len(frames.frames) // 3]:
        resumed = await read(task_id, alice, EventId.parse(frame.get("id", "0-0")))
        assert (resumed.text, resumed.reasoning) == (TEXT, REASONING)


async def test_the_part_of_an_answer_that_failed_comes_in_pieces(
    submit_as_alice: Submit, alice: User
) -> None:
    task_id = await submit_as_alice("Hello")
    error = {"code": "internal", "message": "no " * 500_000}
    await commit_the_end(task_id, 7, status=Status.FAILED, error=error)
    frames = await read(task_id, alice, EventId(1, 2))
    assert frames.text == TEXT
    assert frames.end is not None
    assert (frames.end["type"], frames.end["error"]["code"]) == ("task.failed", "internal")


async def test_text_without_listeners_is_logged_in_pieces(
    submit_as_alice: Submit, alice: User
) -> None:
    task_id = await submit_as_alice("Hello")
    writer = LogWriter(60)
    log = writer.open(task_id, alice.pk, 1)
    log.start("deepseek-flash")
    log.write(TEXT, REASONING)
    log.flush_text()
    end = {"text": TEXT, "reasoning": REASONING, "finish_reason": "stop", "tool_calls": []}
    log.end(lambda event_id: TaskCompleted(task_id=task_id, id=event_id, result=end, usage={}))
    await commit_the_end(task_id, log.last_event)
    await writer.flush()
    frames = await read(task_id, alice)
    frames.check_ids()
    assert (frames.text, frames.reasoning) == (TEXT, REASONING)
    # From the middle on, what comes is what follows.
    middle = frames.logged[20]
    resumed = await read(task_id, alice, EventId.parse(middle["id"]))
    assert resumed.logged == frames.logged[21:]


async def test_a_log_that_was_lost_begins_anew_in_pieces(
    submit_as_alice: Submit, alice: User
) -> None:
    task_id = await submit_as_alice("Hello")
    writer = LogWriter(60)
    log = writer.open(task_id, alice.pk, 1)
    log.start("deepseek-flash")
    log.write(TEXT, "")
    await writer.flush()
    await async_redis().delete(log_key(task_id))
    log.write("The rest.", "")
    log.end(lambda event_id: TaskFailed(task_id=task_id, id=event_id, error={"code": "internal"}))
    await commit_the_end(task_id, log.last_event, status=Status.FAILED, text=TEXT, reasoning="")
    # Redis says what it lacks, and then gets it.
    while await writer.flush():
        pass
    assert await eventlog.read(task_id, START)
    for after in (START, EventId(1, 2), EventId(1, log.last_event - 3)):
        frames = await read(task_id, alice, after)
        assert frames.text == TEXT + "The rest."
        frames.check_ids(str(after))


def test_pieces_add_up_and_small_texts_stay_whole() -> None:
    assert list(cut("short", "thought")) == [("short", "thought")]
    pieces = list(cut("x" * (2 * PIECE_CHARS + 1), "y" * PIECE_CHARS))
    assert [len(text) + len(reasoning) for text, reasoning in pieces] == [*[PIECE_CHARS] * 3, 1]
    assert "".join(reasoning for _, reasoning in pieces) == "y" * PIECE_CHARS


@pytest.mark.parametrize(
    ("text", "arguments", "has_text", "has_tools"),
    [
        ("x" * 200_000, "", True, True),
        ("x" * 300_000, "{}", False, True),
        ("x", TEXT, False, False),
    ],
)
def test_an_end_leaves_out_what_is_too_large(
    text: str, arguments: str, has_text: bool, has_tools: bool
) -> None:
    calls = [{"id": "a", "name": "f", "arguments": arguments}]
    result = {"text": text, "reasoning": "", "finish_reason": "stop", "tool_calls": calls}
    frame = encode(TaskCompleted(task_id="t", id="1-2", result=result, usage={"total_tokens": 3}))
    assert len(frame) <= FRAME_BYTES
    sent = msgspec.json.decode(frame)
    assert (sent["result"]["text"] == text) is has_text
    assert (sent["result"]["tool_calls"] == calls) is has_tools
    assert sent.get("is_truncated", False) is not has_text
    assert sent["usage"] == {"total_tokens": 3}
