"""Notices: what is encoded comes back, by whichever way it was published."""

from __future__ import annotations

import pytest

from chat import eventlog
from chat.eventlog import Append, Notice
from chat.eventlog.keys import log_key, text_channel, user_channel
from chat.eventlog.notices import encode_notice, parse_notice
from chat.events import EventId, TaskCancelled, TaskDelta, TaskQueued, encode
from tests.chat.eventlog.published import published

OWNER = 7
TASK_ID = "019ad000-0000-7000-8000-000000000001"


@pytest.mark.parametrize("event_id", [None, EventId(0, 1), EventId(12, 3456)])
@pytest.mark.parametrize("written_at", [None, 1_790_000_000.123])
@pytest.mark.parametrize("frame", [b"{}", b'{"text":"a @ b 1-2 \xf0\x9f\x9a\x80"}'])
def test_what_is_encoded_comes_back(
    event_id: EventId | None, written_at: float | None, frame: bytes
) -> None:
    notice = Notice(event_id, TASK_ID, frame, written_at)
    assert parse_notice(encode_notice(notice)) == notice


@pytest.mark.parametrize("payload", [b"", TASK_ID.encode(), f"{TASK_ID}x-1 {{}}".encode()])
def test_anything_else_is_refused(payload: bytes) -> None:
    with pytest.raises(ValueError, match=r"not found|not an event id"):
        parse_notice(payload)


async def test_the_script_publishes_notices(loop_services: None) -> None:
    event = TaskDelta(task_id=TASK_ID, id="1-1", text="one two", reasoning="")
    append = Append(TASK_ID, EventId(1, 1), encode(event), text_channel(TASK_ID), create=True)
    async with published(text_channel(TASK_ID)) as receive:
        await eventlog.aappend([append], written_at=1_790_000_000.5)
        assert await receive() == Notice(EventId(1, 1), TASK_ID, encode(event), 1_790_000_000.5)


async def test_what_has_no_log_is_published_in_the_same_format(loop_services: None) -> None:
    queued = TaskQueued(TASK_ID, 3, 1.5)
    cancelled = TaskCancelled(task_id=TASK_ID, id="0-1")
    async with published(user_channel(OWNER)) as receive:
        eventlog.publish_queued(OWNER, queued)
        assert await receive() == Notice(None, TASK_ID, encode(queued))
        eventlog.publish_ends([(OWNER, cancelled)])
        assert await receive() == Notice(EventId(0, 1), TASK_ID, encode(cancelled))


def test_the_keys_of_a_task_share_a_hash_tag() -> None:
    assert f"{{{TASK_ID}}}" in log_key(TASK_ID)
    assert f"{{{TASK_ID}}}" in text_channel(TASK_ID)
