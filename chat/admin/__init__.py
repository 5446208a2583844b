"""Django's admin of chat: what staff writes, and what they may look at."""

from chat.admin import accounting, conversations, delivery, providers, runs, scenes, tasks, tools

__all__ = [
    "accounting",
    "conversations",
    "delivery",
    "providers",
    "runs",
    "scenes",
    "tasks",
    "tools",
]
