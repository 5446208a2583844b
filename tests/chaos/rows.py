"""What the rows say after an outage, compared with what the clients received."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import psycopg

from tests.chaos.users import PatientUser


async def seconds_to_service(database_url: str, at_most: float) -> float:
    """Seconds from now until a task that was submitted from now on has succeeded."""
    began = time.monotonic()
    ended = "SELECT 1 FROM chat_task WHERE status = 'succeeded' AND created_at > %s::timestamptz"
    with psycopg.connect(database_url, autocommit=True) as connection:
        now = connection.execute("SELECT clock_timestamp()::text").fetchone()
        while time.monotonic() - began <= at_most:
            if connection.execute(ended, now).fetchone():
                break
            await asyncio.sleep(0.1)
    return time.monotonic() - began


def judge(database_url: str, users: Sequence[PatientUser]) -> list[str]:
    """A line for every task that is lost, doubled or wrong."""
    with psycopg.connect(database_url) as connection:
        rows = connection.execute("SELECT id::text, status, text FROM chat_task").fetchall()
    stored = {task_id: (status, text) for task_id, status, text in rows}
    problems = []
    for task in (task for user in users for task in user.tasks):
        status, text = stored.pop(task.task_id or "", ("missing", ""))
        texts = [end.get("result", {}).get("text") for end in task.ends]
        if status != "succeeded" or texts != [text]:
            problems.append(f"{task.key} is {status}, and its client saw {len(texts)} ends")
        problems += [f"{task.key}: {line}" for line in task.problems]
    return problems + [f"{task_id} is stored, but no client knows it" for task_id in stored]
