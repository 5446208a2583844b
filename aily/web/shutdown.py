"""The event by which a web process that begins to shut down ends its streams and waits."""

from __future__ import annotations

from aily.concurrency.loops import per_loop
from aily.concurrency.signals import Signal


@per_loop
def shutdown_event() -> Signal:
    """Set when this process begins to shut down: streams end, waiting requests answer with what
    there is, short requests finish."""
    return Signal()
