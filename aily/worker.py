"""What `dramatiq aily.worker` imports: Django, the broker, the actors and the calls' runtime."""

from __future__ import annotations

import asyncio
import os

import django
import dramatiq
import uvloop

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "aily.settings")
django.setup()

from aily.process.garbage import spare_collections  # noqa: E402
from aily.process.lifetimes import die_with_parent  # noqa: E402
from chat.actors import RunCalls  # noqa: E402 - needs Django's apps

# Dramatiq makes the event loop of the calls as the policy says.
asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
# When Dramatiq's master is killed nobody would ever stop its worker process.
die_with_parent()

broker = dramatiq.get_broker()
broker.add_middleware(RunCalls())
spare_collections()
