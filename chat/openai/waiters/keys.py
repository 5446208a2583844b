"""The Redis keys of waiting requests. One hash tag: one script uses all of them."""

from __future__ import annotations

#: zset  process -> its last heartbeat (Redis time, seconds)
PROCESSES = "aily:waiters:{waiters}:processes"
#: zset of score 0  <fingerprint>:<task id>:<owner id>/<process>: requests that wait
HELD = "aily:waiters:{waiters}:held"
#: zset of score 0  <fingerprint>:<task id>:<owner id>: requests whose client is gone
DROPPED = "aily:waiters:{waiters}:dropped"
#: zset  the same -> when its task is to be cancelled
DUE = "aily:waiters:{waiters}:due"

ALL = (PROCESSES, HELD, DROPPED, DUE)
