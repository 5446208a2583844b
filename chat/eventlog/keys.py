"""All names in Redis of the event log: its keys and its pub/sub channels.

What belongs to one task has the hash tag `{task id}`, so that a Redis Cluster keeps it on one node
and a script may use it together. Channels are no keys: a cluster delivers what is published on any
node. Only the number of subscribers, that `append.lua` asks for, is that of its own node.
"""

from __future__ import annotations

#: Carries the ids of tasks whose text has a new listener.
LISTENERS_CHANNEL = "aily:listeners"
#: Two channels of the hub itself, whose confirmations say how far its subscribing has come.
CONNECTED_CHANNEL = "aily:hub:connected"
RESUBSCRIBED_CHANNEL = "aily:hub:resubscribed"
_TEXT_PREFIX = "aily:text:"


def log_key(task_id: str) -> str:
    """The stream that holds a task's events; entries have the one field `e`, the frame."""
    return f"aily:log:{{{task_id}}}"


def text_channel(task_id: str) -> str:
    """Channel of the notices of one task's text."""
    return f"{_TEXT_PREFIX}{{{task_id}}}"


def is_text_channel(channel: str) -> bool:
    return channel.startswith(_TEXT_PREFIX)


def user_channel(user_id: int) -> str:
    """Channel of the notices of the life-cycle events of one user's tasks."""
    return f"aily:user:{user_id}"


def life_channel(task_id: str, user_id: int, *, is_quiet: bool) -> str:
    """Channel of the notices of one task's life-cycle events: its user's, unless it is a row of a
    run, of which there are too many for every socket. Only its followers subscribe to that one."""
    return text_channel(task_id) if is_quiet else user_channel(user_id)


def run_channel(run_id: str) -> str:
    """Channel of notices that a run has changed; its row has the change."""
    return f"aily:run:{{{run_id}}}"


def worker_channel(worker_id: str) -> str:
    """Channel of one worker process; it carries the ids of tasks that were cancelled."""
    return f"aily:worker:{worker_id}"
