"""Django's admin of chat: what staff writes, and what they may look at."""

from chat.admin import conversations, delivery, providers, scenes, tasks

__all__ = ["conversations", "delivery", "providers", "scenes", "tasks"]
