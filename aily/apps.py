"""Django's entry into the project package."""

from __future__ import annotations

from django.apps import AppConfig
from django.contrib.admin import apps as admin


class AilyConfig(AppConfig):
    name = "aily"

    def ready(self) -> None:
        from aily.broker import configure_broker

        configure_broker()


class AdminConfig(admin.AdminConfig):
    default_site = "aily.admin_site.Site"
