"""Entry point of a worker, for `dramatiq aily.worker`: broker, actors and runtime."""

from __future__ import annotations

import asyncio
import os

import django
import dramatiq
import uvloop

from aily.process.start import begin_loading, end_loading

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "aily.settings")
begin_loading()
django.setup()

from aily.process.lifetimes import die_with_parent  # noqa: E402
from chat.actors import ExitDrained, RunCalls  # noqa: E402 - needs Django's apps

# Dramatiq creates the event loop of the calls by this policy.
asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
# If Dramatiq's master is killed, nothing else stops its worker process.
die_with_parent()

broker = dramatiq.get_broker()
calls = RunCalls()
broker.add_middleware(calls)
broker.add_middleware(ExitDrained(calls), before=type(broker.middleware[0]))
end_loading()
