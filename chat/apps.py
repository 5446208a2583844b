"""Chat: what the product does."""

from __future__ import annotations

from django.apps import AppConfig


class ChatConfig(AppConfig):
    name = "chat"

    def ready(self) -> None:
        # Declares the Dramatiq actors (and their schedule) in every process that may send one.
        from accounts.permissions import register_objects
        from chat import actors  # noqa: F401
        from chat.models import LLMModel, Scene

        register_objects(Scene, "slug", ["use_scene", "change_scene", "publish_scene"])
        register_objects(LLMModel, "name", ["use_llmmodel"])
