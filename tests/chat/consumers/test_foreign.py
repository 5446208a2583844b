"""What belongs to another user is answered like what is not there, in each type of frame."""

from __future__ import annotations

import json
from typing import get_args

from accounts.models import APIKey, User
from aily.database.threads import in_database
from aily.routing import routes as application
from chat.frames import Frame
from tests.chat.api.foreign import ASKED, Known, absent, without_ids
from tests.chat.api.foreign import theirs as theirs
from tests.chat.api.one_of_each import stored_rows
from tests.communicators import WebsocketCommunicator


def _frames(known: Known) -> dict[str, Known]:
    """A frame of each type that names something, with what it needs besides."""
    named = {"table": known["table_id"], **known}
    frames = {}
    for kind in get_args(Frame):
        [tag] = get_args(kind.model_fields["type"].annotation)
        ids = {name: named[name] for name in kind.model_fields if name in named and name != "scene"}
        if ids and not tag.endswith(".unsubscribe") and tag != "task.submit":
            frames[tag] = {"type": tag, "ref": "r", **ids}
    submit = {"type": "task.submit", "ref": "r", **ASKED}
    frames["conversation"] = {**submit, "conversation_id": known["conversation_id"]}
    frames["model"] = {**submit, "model": known["name"]}
    frames["webhook"] = {**submit, "webhook": known["endpoint_id"]}
    return frames


async def test_frames_tell_nothing_of_what_is_anothers(
    alice: User, theirs: Known, loop_services: None
) -> None:
    missing = absent(theirs)
    _, secret = await in_database(APIKey.create, alice, "test")
    headers = [(b"authorization", f"Bearer {secret}".encode())]
    socket = WebsocketCommunicator(application, "/ws/llmchat/", headers)
    await socket.connect()
    assert (await socket.receive_json_from())["type"] == "hello"
    before = await in_database(stored_rows)
    frames, unknown = _frames(theirs), _frames(missing)
    assert {"task.subscribe", "task.cancel", "table.subscribe", "run.subscribe"} < set(frames)
    differing = {}
    for name, frame in list(frames.items()):
        answers = []
        for sent in (frame, unknown[name]):
            await socket.send_json_to(sent)
            answer = await socket.receive_json_from()
            answers.append((answer["type"], without_ids(json.dumps(answer), theirs, missing)))
        if answers[0] != answers[1] or answers[0][0] != "error":
            differing[name] = answers
    assert differing == {}
    assert await in_database(stored_rows) == before
    await socket.disconnect()
