"""A rendering process: does one job after another, and is killed by the kernel at a bound.

Run as `python -m chat.rendering.child` by chat/rendering/pool.py, with a socket as standard input.
For each job the process answers with `{"field": ...}` for each field that it comes to, and at last
with `{"messages": ...}`, `{"schema": ...}` or `{"problem": ...}`.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from aily.problems import Problem
from chat.rendering.frames import OUT_OF_MEMORY, read_frame, write_frame
from chat.rendering.limits import Limits
from chat.rendering.prompt import Prompt, PromptSource

_Tell = Callable[[str], None]

#: With nothing to do for so long it ends, to give its memory back.
IDLE_SECONDS = 60
#: What it may have grown to before it makes room for a new one.
_MAX_RESIDENT_BYTES = 128 * 1024 * 1024
#: Below the web process, which shares the processors with it.
_NICENESS = 5
_MAX_KNOWN = 32

#: Those used last come last.
_prompts: dict[tuple[str, str, str], Prompt] = {}


def main() -> None:
    os.nice(_NICENESS)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(OSError):
        # Where memory runs out, the kernel takes it before the web process.
        Path("/proc/self/oom_score_adj").write_text("1000")
    with socket.socket(fileno=sys.stdin.fileno()) as connection:
        while True:
            connection.settimeout(IDLE_SECONDS)
            try:
                job = read_frame(connection)
            except OSError:
                return
            if job is None:
                return
            connection.settimeout(None)
            answer = _do_within_limits(connection, job)
            write_frame(connection, answer)
            if answer.get("problem") == OUT_OF_MEMORY or _resident_bytes() > _MAX_RESIDENT_BYTES:
                return


def _do_within_limits(connection: socket.socket, job: dict[str, Any]) -> dict[str, Any]:
    """The kernel ends the process at either limit, whatever it is doing."""
    limits = Limits(**job["limits"])
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    # macOS refuses it.
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (limits.memory_bytes, hard))
    signal.setitimer(signal.ITIMER_PROF, limits.cpu_seconds)
    signal.setitimer(signal.ITIMER_REAL, limits.wall_seconds)
    try:
        return _do(connection, job, limits)
    except Problem as problem:
        name = type(problem).__name__
        return {"problem": name, "message": problem.message, "field": problem.field}
    except MemoryError:
        return {"problem": OUT_OF_MEMORY}
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)


def _do(connection: socket.socket, job: dict[str, Any], limits: Limits) -> dict[str, Any]:
    def tell(field: str) -> None:
        write_frame(connection, {"field": field})

    source = job["system"], job["user"], json.dumps(job["schema"])
    if job["variables"] is None:
        prompt = _compile(*source, tell)
        prompt.check_names()
        return {"schema": prompt.variables.schema}
    prompt = _known(source, tell)
    tell("variables")
    return {"messages": prompt.render(job["variables"], limits)}


def _compile(system: str, user: str, schema: str, tell: _Tell) -> Prompt:
    return Prompt(PromptSource(system, user, json.loads(schema)), tell)


def _known(source: tuple[str, str, str], tell: _Tell) -> Prompt:
    """The prompt, compiled now or among the last jobs."""
    prompt = _prompts.pop(source, None) or _compile(*source, tell)
    _prompts[source] = prompt
    if len(_prompts) > _MAX_KNOWN:
        del _prompts[next(iter(_prompts))]
    return prompt


def _resident_bytes() -> int:
    """Now; where the system does not tell, the most there ever was. Linux counts in that what the
    process was before its exec: a copy of the web process."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return pages * resource.getpagesize()


if __name__ == "__main__":
    main()
