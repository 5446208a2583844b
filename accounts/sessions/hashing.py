"""Password hashes, made by few threads at once.

By design a hash costs some hundred milliseconds of one core, and every login attempt needs one. So
a process computes LOGIN_HASHES_AT_ONCE at a time, on threads of low priority, and a bounded number
of requests wait. OpenSSL computes without Python's lock, so the event loop goes on.
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

#: Added to the threads' nice value: on busy cores they get a third of the usual share. With much
#: less, a thread that holds Python's lock would delay the event loop.
NICENESS = 5
#: Retry-After when too many wait: about as long as the waiting ones take.
RETRY_SECONDS = 5


class BoundedPBKDF2Hasher(PBKDF2PasswordHasher):
    """Django's default hasher, with the same hashes. Raises Busy when too many wait."""

    def encode(self, password: str, salt: str, iterations: int | None = None) -> str:
        return _run(partial(super().encode, password, salt, iterations))


def _run(work: Callable[[], str]) -> str:
    room = _room()
    if not room.acquire(blocking=False):
        raise Busy("Too many passwords are being checked.", retry_after_seconds=RETRY_SECONDS)
    try:
        # The wait may take seconds: hold no database connection meanwhile.
        release_connections()
        return _executor().submit(work).result()
    finally:
        room.release()


@cache
def _room() -> threading.Semaphore:
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
