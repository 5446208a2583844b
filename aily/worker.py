"""What `dramatiq aily.worker` imports: Django, the broker, the actors and the calls' runtime."""

from __future__ import annotations

import os

import django
import dramatiq

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "aily.settings")
django.setup()

from chat.actors import RunCalls  # noqa: E402 - needs Django's apps

broker = dramatiq.get_broker()
broker.add_middleware(RunCalls())
