"""Chat: what the product does."""

from __future__ import annotations

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class ChatConfig(AppConfig):
    name = "chat"
    verbose_name = _("Chat")

    def ready(self) -> None:
        # Imported here, as models can be imported only once all apps are loaded.
        from chat import startup

        startup.prepare(self)
