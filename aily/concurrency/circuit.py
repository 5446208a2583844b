"""Knows whether a server answers, so that nobody waits for one that is known to be away."""

from __future__ import annotations

import logging
import time
from functools import cache
from threading import Lock

logger = logging.getLogger(__name__)

#: Seconds between two attempts to find out whether a server is back.
PROBE_EVERY_SECONDS = 1.0
#: Retry-After of what is refused while a server is away: within a second or two of its return all
#: processes have noticed it.
OUTAGE_RETRY_SECONDS = 2


class Circuit:
    """What this process last saw of one server. Any thread may ask and tell.

    From the first failure on only one caller at a time gets through, and all others are refused
    without waiting; the first success lets everybody through again.
    """

    def __init__(self, server: str) -> None:
        self._server = server
        self._lock = Lock()
        self._is_open = False
        self._next_probe = 0.0
        #: When the server last answered (monotonic), where whoever asks it notes that.
        self.answered_at = 0.0
        #: How often the server went away. Connections from before that may lead nowhere.
        self.outages = 0

    @property
    def is_open(self) -> bool:
        """True while the server is known to be away."""
        return self._is_open

    def lets_through(self) -> bool:
        """Whether the caller may try the server. It must then say how that went."""
        if not self._is_open:
            return True
        with self._lock:
            now = time.monotonic()
            if now < self._next_probe:
                return False
            # A probe that is cancelled tells nothing: the next one need not wait for it.
            self._next_probe = now + PROBE_EVERY_SECONDS
            return True

    def succeeded(self) -> None:
        if self._is_open:
            self._is_open = False
            logger.warning("%s answers again", self._server)

    def failed(self) -> None:
        """The server did not answer. A single broken connection is found out by the next caller."""
        with self._lock:
            delay = PROBE_EVERY_SECONDS if self._is_open else 0
            if not self._is_open:
                logger.warning("%s does not answer", self._server)
                self.outages += 1
            self._is_open = True
            self._next_probe = time.monotonic() + delay


@cache
def circuit_of(server: str) -> Circuit:
    """The process's circuit of a server, by its address."""
    return Circuit(server)
