"""Rendering in separate processes, which are killed when it takes too long.

A thread waits for each process, so that jobs may come from coroutines of any event loop and from
threads. Owners take turns: a job waits behind one job of each other owner, and one owner never has
all processes.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from aily.problems import Problem, TooLarge, Unavailable
from chat.exceptions import InvalidTemplate, InvalidVariable, TemplateTimeout, TooManyRenderings
from chat.rendering.limits import Limits
from chat.rendering.prompt import PromptSource
from chat.rendering.protocol import (
    MAX_BYTES,
    OUT_OF_MEMORY,
    Job,
    OutputJob,
    Reply,
    encode,
    receive,
)

if TYPE_CHECKING:
    from pydantic import JsonValue

logger = logging.getLogger(__name__)

#: A job that has waited for this long is given up: too many owners have slow ones.
MAX_WAIT_SECONDS = 10
#: Checks of one author that may wait: a thread waits for each, perhaps in a transaction.
MAX_CHECKS_WAITING = 1
#: All waiting jobs together.
MAX_WAITING_BYTES = 64 * 1024 * 1024
#: The kernel's limits end the process before; this is for one that it has stopped.
_MARGIN_SECONDS = 2
_COMMAND = (sys.executable, "-m", "chat.rendering.child")
_ROOT = Path(__file__).resolve().parent.parent.parent
#: The only variables that a process gets: templates are foreign code, and the others hold secrets.
_ENVIRONMENT = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "LANG", "LC_ALL")
_OUT_OF_TIME = (-signal.SIGPROF, -signal.SIGALRM)
_PROBLEMS: dict[str, type[Problem]] = {
    kind.__name__: kind for kind in (InvalidTemplate, InvalidVariable, TooLarge)
}


@dataclass(slots=True)
class _QueuedJob:
    owner_id: int
    #: Encoded for the process.
    request: bytes
    limits: Limits
    #: Jobs of the owner that may wait, for this one to be taken.
    max_waiting: int
    expires_at: float
    #: The child's last reply. Raises Problem.
    future: Future[Reply] = field(default_factory=Future)


class RenderingPool:
    """At most `processes` rendering processes, each started when it is first needed."""

    def __init__(
        self,
        processes: int,
        max_waiting_per_owner: int,
        max_wait_seconds: float = MAX_WAIT_SECONDS,
    ) -> None:
        self._processes = max(1, processes)
        self._max_wait_seconds = max_wait_seconds
        self._max_waiting_per_owner = max_waiting_per_owner
        self._max_running_per_owner = max(1, processes - 1)
        self._changed = threading.Condition()
        self._waiting: OrderedDict[int, deque[_QueuedJob]] = OrderedDict()
        self._waiting_bytes = 0
        self._running: Counter[int] = Counter()
        self._threads = 0
        self._idle_threads = 0

    def submit(
        self,
        owner_id: int,
        source: PromptSource,
        variables: Mapping[str, JsonValue] | None,
        limits: Limits,
    ) -> Future[Reply]:
        """Render, or without variables check what an author wrote.

        The result has `messages` or a `schema`. Raises TooManyRenderings or Unavailable, here or
        from the result, and from the result what the work itself raises.
        """
        message: Job = {
            "system": source.system,
            "user": source.user,
            "schema": source.schema,
            "variables": variables,
            "limits": asdict(limits),
        }
        request = encode(message)
        if len(request) > MAX_BYTES:
            raise TooLarge("Templates and variables together are too large.", field="variables")
        max_waiting = MAX_CHECKS_WAITING if variables is None else self._max_waiting_per_owner
        return self._enqueue(owner_id, request, limits, max_waiting)

    def check_output(
        self, owner_id: int, schema: dict[str, JsonValue], text: str | None, limits: Limits
    ) -> Future[Reply]:
        """Check an answer against a schema, or without a text the schema itself.

        The result has `fitting` and `errors`. Raises as `submit` does; InvalidTemplate for a schema
        that cannot be used.
        """
        job: OutputJob = {"output_schema": schema, "text": text, "limits": asdict(limits)}
        request = encode(job)
        if len(request) > MAX_BYTES:
            raise TooLarge("The answer is too large to be checked.", field="text")
        return self._enqueue(owner_id, request, limits, self._max_waiting_per_owner)

    def _enqueue(
        self, owner_id: int, request: bytes, limits: Limits, max_waiting: int
    ) -> Future[Reply]:
        expires_at = time.monotonic() + self._max_wait_seconds
        job = _QueuedJob(owner_id, request, limits, max_waiting, expires_at)
        with self._changed:
            self._admit(job)
            self._waiting.setdefault(owner_id, deque()).append(job)
            self._waiting_bytes += len(request)
            # An idle thread may have a job already and not have woken up yet.
            waiting = sum(map(len, self._waiting.values()))
            if waiting > self._idle_threads and self._threads < self._processes:
                self._threads += 1
                threading.Thread(target=self._work, name="rendering", daemon=True).start()
            self._changed.notify()
        return job.future

    def _admit(self, job: _QueuedJob) -> None:
        if len(self._waiting.get(job.owner_id, ())) >= job.max_waiting:
            raise TooManyRenderings(
                "Too many of your prompts wait for being rendered or checked.",
                limit_name="renderings_waiting",
                limit=job.max_waiting,
                retry_after_seconds=1,
            )
        if self._waiting_bytes + len(job.request) > MAX_WAITING_BYTES:
            raise _busy()

    # --- Taking turns ---------------------------------------------------------------------------
    def _take(self) -> _QueuedJob:
        with self._changed:
            self._idle_threads += 1
            while (job := self._next()) is None:
                self._changed.wait()
            self._idle_threads -= 1
            return job

    def _next(self) -> _QueuedJob | None:
        for owner_id in list(self._waiting):
            if self._running[owner_id] >= self._max_running_per_owner:
                continue
            if (job := self._next_of(owner_id)) is not None:
                self._running[owner_id] += 1
                return job
        return None

    def _next_of(self, owner_id: int) -> _QueuedJob | None:
        """The owner's oldest job that is still wanted; it goes to the end of the turns."""
        jobs = self._waiting[owner_id]
        wanted = None
        while jobs and wanted is None:
            job = jobs.popleft()
            self._waiting_bytes -= len(job.request)
            if not job.future.set_running_or_notify_cancel():
                continue
            if job.expires_at < time.monotonic():
                job.future.set_exception(_busy())
                continue
            wanted = job
        if jobs:
            self._waiting.move_to_end(owner_id)
        else:
            del self._waiting[owner_id]
        return wanted

    def _give_back(self, owner_id: int) -> None:
        with self._changed:
            self._running[owner_id] -= 1
            if not self._running[owner_id]:
                del self._running[owner_id]
            self._changed.notify()

    # --- Working --------------------------------------------------------------------------------
    def _work(self) -> None:
        worker = _Worker()
        while True:
            job = self._take()
            try:
                reply = worker.do(job)
            except Problem as problem:
                job.future.set_exception(problem)
            except Exception as error:  # the thread serves others after this one
                logger.exception("rendering broke")
                # What the old process may still send is no reply to the next job.
                worker = _Worker()
                job.future.set_exception(error)
            else:
                job.future.set_result(reply)
            self._give_back(job.owner_id)


def _busy() -> Unavailable:
    return Unavailable("Too many prompts wait for being rendered.", retry_after_seconds=2)


# --- One process --------------------------------------------------------------------------------
class _ChildEndedError(Exception):
    """`field`: the one that it was working on; None before the first."""

    def __init__(self, returncode: int, field: str | None) -> None:
        super().__init__(returncode)
        self.returncode = returncode
        self.field = field


class _Child:
    """A rendering process, which ends when this socket does: with this process at the latest."""

    def __init__(self) -> None:
        self._connection, theirs = socket.socketpair()
        environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
        with theirs:
            self._process: subprocess.Popen[bytes] = subprocess.Popen(
                _COMMAND,
                cwd=_ROOT,
                env=environment,
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
            )

    def do(self, job: _QueuedJob) -> Reply:
        """The last reply. Raises _ChildEndedError; then there is no process any more."""
        field: str | None = None
        self._connection.settimeout(job.limits.wall_seconds + _MARGIN_SECONDS)
        try:
            self._connection.sendall(job.request)
            while (received := receive(self._connection)) is not None:
                reply: Reply = json.loads(received)
                if "problem" in reply:
                    reply.setdefault("field", field)
                if "problem" in reply or "field" not in reply:
                    return reply
                field = reply["field"]
        except TimeoutError:
            self._process.kill()
            self._end()
            raise _ChildEndedError(-signal.SIGALRM, field) from None
        except OSError:
            pass
        raise _ChildEndedError(self._end(), field)

    def _end(self) -> int:
        self._connection.close()
        try:
            return self._process.wait(_MARGIN_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()


class _Worker:
    """One thread's process, replaced when it ends."""

    def __init__(self) -> None:
        self._child: _Child | None = None

    def do(self, job: _QueuedJob) -> Reply:
        """The last reply. Raises Problem."""
        try:
            reply = self._ask(job)
        except _ChildEndedError as end:
            raise _problem_of(end, job.limits) from None
        if "problem" not in reply:
            return reply
        if reply["problem"] == OUT_OF_MEMORY:
            mebibytes = job.limits.memory_bytes // 1_048_576
            message = f"Working on this takes more than {mebibytes} MiB of memory."
            raise InvalidTemplate(message, field=reply["field"])
        raise _PROBLEMS[reply["problem"]](
            reply["message"], field=reply["field"], params=reply.get("params")
        )

    def _ask(self, job: _QueuedJob) -> Reply:
        """Ask the process, or a new one where that has ended. Raises _ChildEndedError."""
        if self._child is not None:
            try:
                return self._child.do(job)
            except _ChildEndedError as end:
                self._child = None
                if end.field is not None:
                    raise
                # It was idle for long or had grown, and ended before it got the job.
        child = _Child()
        reply = child.do(job)
        self._child = child
        return reply


def _problem_of(end: _ChildEndedError, limits: Limits) -> Problem:
    if end.returncode in _OUT_OF_TIME:
        logger.warning("rendering was stopped: out of time at %s", end.field)
        return TemplateTimeout(
            f"Working on this takes more than {limits.cpu_seconds:g} s, and was stopped.",
            field=end.field,
        )
    logger.warning("a rendering process ended with %s at %s", end.returncode, end.field)
    if end.field is None:
        return Unavailable("Prompts cannot be rendered now.", retry_after_seconds=2)
    return InvalidTemplate("Working on this fails, or takes too much memory.", field=end.field)
