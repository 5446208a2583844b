"""A circuit breaker by server: callers do not wait for a server that is known to be unavailable."""

from __future__ import annotations

import logging
import time
from functools import cache
from threading import Lock

logger = logging.getLogger(__name__)

#: Between two probes of an unavailable server.
PROBE_EVERY_SECONDS = 1.0
#: Retry-After of what is refused while a server is away: within a second or two of its return all
#: processes have noticed it.
OUTAGE_RETRY_SECONDS = 2


class CircuitBreaker:
    """Whether one server answered this process last. For any thread.

    It opens at the first failure: from then on one call a second is allowed, as a probe, and all
    others are refused without waiting. The first success closes it.
    """

    def __init__(self, server: str) -> None:
        self._server = server
        self._lock = Lock()
        self._is_open = False
        self._next_probe = 0.0
        #: When the server last answered (monotonic), if its callers set that.
        self.answered_at = 0.0
        #: How often the breaker has opened. Connections from before may be dead.
        self.outages = 0

    @property
    def is_open(self) -> bool:
        """True while the server is known to be unavailable."""
        return self._is_open

    def allows_call(self) -> bool:
        """Whether the caller may call the server. It must then report the outcome."""
        if not self._is_open:
            return True
        with self._lock:
            now = time.monotonic()
            if now < self._next_probe:
                return False
            # A cancelled probe reports no outcome: the next one must not wait for it.
            self._next_probe = now + PROBE_EVERY_SECONDS
            return True

    def record_success(self) -> None:
        if self._is_open:
            self._is_open = False
            logger.warning("%s answers again", self._server)

    def record_failure(self) -> None:
        """The server did not answer. After the first failure a probe is allowed at once: only one
        connection may have been broken."""
        with self._lock:
            delay = PROBE_EVERY_SECONDS if self._is_open else 0
            if not self._is_open:
                logger.warning("%s does not answer", self._server)
                self.outages += 1
            self._is_open = True
            self._next_probe = time.monotonic() + delay


@cache
def breaker_of(server: str) -> CircuitBreaker:
    """The process's circuit breaker of a server, by its address."""
    return CircuitBreaker(server)
