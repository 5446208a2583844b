"""What tests of the WebSocket do and wait for."""

from __future__ import annotations

from typing import Any

from accounts.models import User
from aily.database.threads import in_database
from chat.eventlog import Append
from chat.eventlog.keys import user_channel
from chat.events import Event, EventId, TaskCompleted, TaskStarted, encode
from chat.models import Status, Task, Worker
from tests.chat.conftest import eventually, row


def started(task_id: str) -> TaskStarted:
    return TaskStarted(task_id=task_id, id="1-1", attempt=1, model="deepseek-flash")


def completed(task_id: str) -> TaskCompleted:
    return TaskCompleted(task_id=task_id, id="1-2", result={}, usage={})


def appended(event: Event, owner: User) -> Append:
    event_id = EventId.parse(event.id)
    return Append(event.task_id, event_id, encode(event), user_channel(owner.pk), create=True)


async def ping(socket: Any) -> None:
    """Everything sent before it has been answered once the pong is there."""
    await socket.send_json_to({"type": "ping"})
    assert await socket.receive_json_from() == {"type": "pong"}


async def run_without_worker(task_id: str) -> None:
    """Make it look as if a worker had the task that will never answer a cancel."""

    def start() -> None:
        worker = Worker.objects.create(hostname="gone", pid=1, lease_until="2100-01-01T00:00Z")
        Task.objects.filter(pk=task_id).update(
            status=Status.RUNNING, attempt=1, worker_id=worker.pk, last_event=0
        )

    await in_database(start)


async def until_cancelled(task_id: str) -> None:
    async def is_cancelled() -> bool:
        return bool((await row(task_id)).status == Status.CANCELLED)

    await eventually(is_cancelled)


async def submit_slowly(socket: Any, *, stream: bool = True) -> None:
    """Returns once the task is stored."""
    count = await in_database(Task.objects.count)
    messages = [{"role": "user", "content": "Slow"}]
    frame = {"type": "task.submit", "messages": messages, "stream": stream}
    await socket.send_json_to(frame)

    async def is_stored() -> bool:
        return bool(await in_database(Task.objects.count) > count)

    await eventually(is_stored)


async def next_logged(socket: Any) -> Any:
    """The next frame with a place in the log: those of a place in the queue come at any time."""
    while "id" not in (frame := await socket.receive_json_from()):
        assert frame["type"] == "task.queued"
    return frame


async def submit_quietly(socket: Any) -> str:
    """A task whose text the socket does not want."""
    messages = [{"role": "user", "content": "Hello"}]
    await socket.send_json_to({"type": "task.submit", "messages": messages, "stream": False})
    accepted = await socket.receive_json_from()
    assert accepted["type"] == "task.accepted"
    return str(accepted["task_id"])
