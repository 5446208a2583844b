"""What a webhook says. Made from the task's row, so that every attempt says the same."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from chat.models import Delivery, Task

#: Receivers limit what they take; whoever needs all of a long answer asks for the task.
MAX_BODY_BYTES = 20_000


def body_of(delivery: Delivery) -> str:
    """The JSON body, at most MAX_BODY_BYTES in UTF-8."""
    task = delivery.task
    if task is None:
        return _message(delivery.event, delivery.created_at, delivery.data)
    happened_at = task.finished_at or delivery.created_at
    data = _task_data(task)
    if _size(_message(delivery.event, happened_at, data)) <= MAX_BODY_BYTES:
        return _message(delivery.event, happened_at, data)
    _cut_text(data, MAX_BODY_BYTES - _size(_message(delivery.event, happened_at, _bare(data))))
    if _size(_message(delivery.event, happened_at, data)) > MAX_BODY_BYTES:
        data |= {"metadata": None, "usage": None, "error": None, "is_truncated": True}
    return _message(delivery.event, happened_at, data)


def _task_data(task: Task) -> dict[str, Any]:
    has_text = bool(task.text or task.finish_reason)
    return {
        "task_id": str(task.pk),
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


def _bare(data: dict[str, Any]) -> dict[str, Any]:
    result = data["result"]
    return {**data, "result": {**result, "text": ""} if result else None}


def _cut_text(data: dict[str, Any], room_bytes: int) -> None:
    """Keep of the text what fits into `room_bytes`, as JSON writes it."""
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


def _message(event: str, happened_at: datetime, data: dict[str, Any]) -> str:
    return _json({"type": event, "timestamp": happened_at.isoformat(), "data": data})


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _size(text: str) -> int:
    return len(text.encode())
