"""Django's entry into the project package."""

from __future__ import annotations

from django.apps import AppConfig


class AilyConfig(AppConfig):
    name = "aily"

    def ready(self) -> None:
        from aily.redis.broker import configure_broker
        from aily.web import checks as checks

        configure_broker()
