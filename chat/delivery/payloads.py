"""Bodies of webhooks. Made from the task's row, so that every attempt sends the same."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import TypedDict

from chat.models import Delivery, Task

#: Receivers limit what they take; a receiver that needs all of a long answer reads the task.
MAX_BODY_BYTES = 20_000


class _Result(TypedDict):
    text: str
    finish_reason: str


class TaskData(TypedDict):
    """`data` of a webhook about a task (chat/PROTOCOL.md)."""

    task_id: str
    kind: str
    status: str
    metadata: object
    scene: str | None
    model: str
    usage: object
    error: object
    served_from: str
    result: _Result | None
    is_truncated: bool


def body_of(delivery: Delivery) -> str:
    """The JSON body, at most MAX_BODY_BYTES in UTF-8."""
    task = delivery.task
    if task is None:
        return _message(delivery.event, delivery.created_at, delivery.data)
    happened_at = task.finished_at or delivery.created_at
    data = _task_data(task)
    if _size(_message(delivery.event, happened_at, data)) <= MAX_BODY_BYTES:
        return _message(delivery.event, happened_at, data)
    _cut_text(
        data, MAX_BODY_BYTES - _size(_message(delivery.event, happened_at, _without_text(data)))
    )
    if _size(_message(delivery.event, happened_at, data)) > MAX_BODY_BYTES:
        data = {**data, "metadata": None, "usage": None, "error": None, "is_truncated": True}
    return _message(delivery.event, happened_at, data)


def _task_data(task: Task) -> TaskData:
    has_text = bool(task.text or task.finish_reason)
    return {
        "task_id": str(task.pk),
        "kind": task.kind,
        "status": task.status,
        "metadata": task.metadata,
        "scene": task.scene.slug if task.scene else None,
        "model": task.model.name,
        "usage": task.usage or None,
        "error": task.error,
        "served_from": task.served_from,
        "result": {"text": task.text, "finish_reason": task.finish_reason} if has_text else None,
        "is_truncated": False,
    }


def _without_text(data: TaskData) -> TaskData:
    result = data["result"]
    return {**data, "result": {**result, "text": ""} if result else None}


def _cut_text(data: TaskData, room_bytes: int) -> None:
    """Cut the text to what fits into `room_bytes` as JSON."""
    result = data["result"]
    if result is None:
        return
    # `false` becomes `true`, a byte less, and _size counted the quotes already.
    shortest, longest = 0, len(result["text"])
    while shortest < longest:
        middle = (shortest + longest + 1) // 2
        if _size(_json(result["text"][:middle])) - 2 <= room_bytes:
            shortest = middle
        else:
            longest = middle - 1
    result["text"] = result["text"][:shortest]
    data["is_truncated"] = True


def _message(event: str, happened_at: datetime, data: Mapping[str, object]) -> str:
    return _json({"type": event, "timestamp": happened_at.isoformat(), "data": data})


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _size(text: str) -> int:
    return len(text.encode())
