"""A rendering process: does one job after another, and is killed by the kernel at a bound.

Run as `python -m chat.rendering.child` by chat/rendering/pool.py, with a socket as standard input.
What it is sent and what it replies is in chat/rendering/protocol.py.
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
from typing import TYPE_CHECKING, Any, cast

from aily.problems import Problem
from chat.exceptions import InvalidTemplate
from chat.rendering.json_schema import SchemaRefusedError
from chat.rendering.limits import Limits
from chat.rendering.output import OutputSchema
from chat.rendering.prompt import Prompt, PromptSource
from chat.rendering.protocol import OUT_OF_MEMORY, Job, OutputJob, Reply, receive, send

if TYPE_CHECKING:
    from pydantic import JsonValue

_OnField = Callable[[str], None]

#: With nothing to do for so long it ends, to give its memory back.
IDLE_SECONDS = 60
#: What it may have grown to before it makes room for a new one.
_MAX_RESIDENT_BYTES = 128 * 1024 * 1024
#: Below the web process, which shares the processors with it.
_NICENESS = 5
_MAX_KNOWN = 32

#: Compiled prompts, the last used one last.
_prompts: dict[tuple[str, str, str], Prompt] = {}
#: Schemas of answers, the last used one last, by their JSON.
_output_schemas: dict[str, OutputSchema] = {}


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
                job = receive(connection)
            except OSError:
                return
            if job is None:
                return
            connection.settimeout(None)
            reply = _do_within_limits(connection, json.loads(job))
            send(connection, reply)
            if reply.get("problem") == OUT_OF_MEMORY or _resident_bytes() > _MAX_RESIDENT_BYTES:
                return


def _do_within_limits(connection: socket.socket, job: dict[str, Any]) -> Reply:
    """The kernel ends the process at either limit, whatever it is doing."""
    limits = Limits(**job["limits"])
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    # macOS refuses it.
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (limits.memory_bytes, hard))
    signal.setitimer(signal.ITIMER_PROF, limits.cpu_seconds)
    signal.setitimer(signal.ITIMER_REAL, limits.wall_seconds)
    try:
        if "output_schema" in job:
            return _check_output(connection, cast("OutputJob", job))
        return _do(connection, cast("Job", job), limits)
    except Problem as problem:
        name = type(problem).__name__
        return {
            "problem": name,
            "message": problem.message,
            "field": problem.field,
            "params": problem.params,
        }
    except MemoryError:
        return {"problem": OUT_OF_MEMORY}
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)


def _do(connection: socket.socket, job: Job, limits: Limits) -> Reply:
    def on_field(field: str) -> None:
        send(connection, {"field": field})

    source = job["system"], job["user"], json.dumps(job["schema"])
    if job["variables"] is None:
        prompt = _compile(*source, on_field)
        prompt.check_names()
        return {"schema": prompt.variables.schema}
    prompt = _known(source, on_field)
    on_field("variables")
    return {"messages": prompt.render(job["variables"], limits)}


def _check_output(connection: socket.socket, job: OutputJob) -> Reply:
    send(connection, {"field": "output_schema"})
    try:
        if job["text"] is None:
            OutputSchema(job["output_schema"])
            return {"errors": []}
        schema = _known_output_schema(job["output_schema"])
    except SchemaRefusedError as error:
        raise InvalidTemplate.because(error.reason, field="output_schema") from None
    send(connection, {"field": "text"})
    checked = schema.check(job["text"])
    errors = list(checked.errors)
    return {"fitting": checked.text, "errors": errors, "params": dict(checked.params)}


def _known_output_schema(schema: dict[str, JsonValue]) -> OutputSchema:
    """A schema that was checked when its task was accepted. Raises SchemaRefusedError."""
    source = json.dumps(schema)
    known = _output_schemas.pop(source, None) or OutputSchema(schema, is_known=True)
    _output_schemas[source] = known
    if len(_output_schemas) > _MAX_KNOWN:
        del _output_schemas[next(iter(_output_schemas))]
    return known


def _compile(system: str, user: str, schema: str, on_field: _OnField) -> Prompt:
    return Prompt(PromptSource(system, user, json.loads(schema)), on_field)


def _known(source: tuple[str, str, str], on_field: _OnField) -> Prompt:
    """The prompt, compiled now or among the last jobs."""
    prompt = _prompts.pop(source, None) or _compile(*source, on_field)
    _prompts[source] = prompt
    if len(_prompts) > _MAX_KNOWN:
        del _prompts[next(iter(_prompts))]
    return prompt


def _resident_bytes() -> int:
    """Resident memory now; on a system that does not show it, the highest there was. On Linux that
    includes what the process was before its exec: a copy of the web process."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return pages * resource.getpagesize()


if __name__ == "__main__":
    main()
