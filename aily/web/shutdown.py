"""The word that this web process is to stop: what lasts long ends, what is short is finished."""

from __future__ import annotations

import asyncio

from aily.concurrency.loops import per_loop


@per_loop
def draining() -> asyncio.Event:
    """Set once the process was told to stop. Streams end, waiting requests answer with what is."""
    return asyncio.Event()
