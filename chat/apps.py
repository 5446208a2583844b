"""Chat: what the product does."""

from __future__ import annotations

from django.apps import AppConfig


class ChatConfig(AppConfig):
    name = "chat"

    def ready(self) -> None:
        # Declares the Dramatiq actors (and their schedule) in every process that may send one.
        from chat import actors  # noqa: F401
