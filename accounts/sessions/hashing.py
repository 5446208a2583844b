"""Password hashes, made by few threads at once.

A hash costs some hundred milliseconds of one core by design. Anybody may ask for one, so a process
makes LOGIN_HASHES_AT_ONCE together, on threads of low priority, and lets a bounded number wait.
OpenSSL computes it without Python's lock, so the event loop goes on.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial

from django.conf import settings
from django.contrib.auth.hashers import PBKDF2PasswordHasher

from aily.database.threads import release_connections
from aily.problems import Busy

#: How much lower than the process's the priority of the threads is: on busy cores they get a third
#: of what others do. With much less one that just holds Python's lock would hold up the event loop.
NICENESS = 5
#: Retry-After where too many wait already: about as long as those that wait take.
RETRY_SECONDS = 5


class BoundedPBKDF2Hasher(PBKDF2PasswordHasher):
    """Django's default hasher, with the same hashes. Raises Busy when too many wait."""

    def encode(self, password: str, salt: str, iterations: int | None = None) -> str:
        return _run(partial(super().encode, password, salt, iterations))


def _run(work: Callable[[], str]) -> str:
    places = _places()
    if not places.acquire(blocking=False):
        raise Busy("Too many passwords are being checked.", retry_after_seconds=RETRY_SECONDS)
    try:
        # It may be the next one's turn in some seconds only.
        release_connections()
        return _executor().submit(work).result()
    finally:
        places.release()


@cache
def _places() -> threading.Semaphore:
    return threading.Semaphore(settings.LOGIN_HASHES_AT_ONCE + settings.LOGIN_HASHES_WAITING)


@cache
def _executor() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(
        settings.LOGIN_HASHES_AT_ONCE, thread_name_prefix="hashing", initializer=_lower_priority
    )


def _lower_priority() -> None:
    # On Linux this is the thread's own.
    thread_id = threading.get_native_id()
    priority = min(os.getpriority(os.PRIO_PROCESS, thread_id) + NICENESS, 19)
    os.setpriority(os.PRIO_PROCESS, thread_id, priority)
