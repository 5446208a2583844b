"""Faults and shapes that a prompt asks the simulated provider for: `[sim:status=503,times=1]`."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

from chat.llm.simulator.config import JsonObject
from chat.llm.simulator.tool_plan import Step, split_plan, without_plan

DIRECTIVES_HELP = """\
Directives in the last user message change the answer to it: [sim:NAME=VALUE,NAME,...].

Shape of the answer
  latency=5           seconds before the first token
  tokens=200          length of the answer
  tps=50              tokens a second, 0 for all at once
  tool, tool=NAME     call the first tool, or this one, of those in the request
  tools=PLAN          call tools step by step, each with the results of those before it, and at
                      last answer with a text that quotes the results. In a directive of its own:
                      [sim:tools=clock {} | calculate {"expression": "2 * 3"} ; slow {"seconds": 1}]
                      calls two tools at once, then a third. A tool that the request does not
                      offer is called all the same; a request without tools is answered at once
  clock               each token of a stream is its number and, in seconds of this machine's
                      monotonic clock, the moment it is sent: "17@123.456789 "
  nul                 the text holds a NUL character
  usage=after         usage in a chunk of its own after the finish reason
  usage=none          no usage at all
  schema=second       an answer to a JSON Schema does not fit it before it was asked to repair that;
                      never: not even then; prose: no JSON at all; fenced, chatty: JSON that fits,
                      in a fence of code or among words
  again_latency=5     with schema: seconds before the first token of the repaired answer
  finish=REASON       another finish reason: content_filter, insufficient_system_resource, ...

Faults
  status=503          answer with this HTTP status
  retry_after=1       with status: the Retry-After header, seconds or an HTTP date without commas
  truncate            end the response in the middle, cleanly but without an end mark
  disconnect          break the connection in the middle
  stall=first         only keep-alives, never a token
  stall=middle        only keep-alives after half of the answer
  stall_seconds=2     with stall: go on after this time
  silent              with stall: no keep-alives either
  broken_json         an event in the middle that is no JSON
  error=middle        an error event in the middle; error=first sends it at once
  empty               finish with neither text nor reasoning
  times=1             only the first so many requests with this very message get the faults"""

_DIRECTIVE = re.compile(r"\[sim:([^\[\]]*)\]")
_FAULTS = (
    "status",
    "truncate",
    "disconnect",
    "stall",
    "broken_json",
    "error",
    "empty",
    "finish",
)


@dataclass(frozen=True)
class Directives:
    """What a prompt asks for; None and False leave the configured behaviour."""

    latency: float | None = None
    tokens: int | None = None
    tps: float | None = None
    tool: str | None = None  # "" is the first one
    plan: tuple[Step, ...] = ()  # of tools=
    clock: bool = False
    nul: bool = False
    usage: str = "finish"
    finish: str | None = None
    schema: str = "fits"
    again_latency: float | None = None
    status: int | None = None
    retry_after: str | None = None
    truncate: bool = False
    disconnect: bool = False
    stall: str | None = None
    stall_seconds: float | None = None
    silent: bool = False
    broken_json: bool = False
    error: str | None = None
    empty: bool = False
    times: int | None = None

    @cached_property
    def faulty(self) -> bool:
        """Whether any of the faults is asked for."""
        return any(getattr(self, name) for name in _FAULTS)

    def without_faults(self) -> Directives:
        """The same shape of answer, and nothing wrong with it."""
        return replace(self, **{name: getattr(_NONE, name) for name in _FAULTS})


_NONE = Directives()
_TYPES = {field.name: str(field.type) for field in fields(Directives)}
_WORDS = {
    "usage": ("finish", "after", "none"),
    "stall": ("first", "middle"),
    "schema": ("fits", "second", "never", "prose", "fenced", "chatty"),
    "error": ("first", "middle"),
}


def without_directives(prompt: str) -> str:
    """The prompt's own words."""
    return _DIRECTIVE.sub("", without_plan(prompt)).strip()


def parse_directives(prompt: str) -> Directives:
    """Read every directive of a prompt. Raises ValueError naming the one that is wrong."""
    plan, rest = split_plan(prompt)
    groups = _DIRECTIVE.findall(rest)
    if not groups and not plan:
        return _NONE
    found: JsonObject = {"plan": plan}
    for group in groups:
        for item in filter(None, (part.strip() for part in group.split(","))):
            name, _, value = item.partition("=")
            if name not in _TYPES or name == "plan":
                raise ValueError(f"unknown directive [sim:{name}]")
            found[name] = _value(name, value)
    return Directives(**found)


def _value(name: str, value: str) -> Any:
    kind = _TYPES[name]
    if kind == "bool":
        return True
    if name in _WORDS and value not in _WORDS[name]:
        raise ValueError(f"directive [sim:{name}={value}]: use one of {', '.join(_WORDS[name])}")
    try:
        if kind.startswith("int"):
            number: float = int(value)
        elif kind.startswith("float"):
            number = float(value)
        else:
            return value
    except ValueError:
        raise ValueError(f"directive [sim:{name}={value}]: not a number") from None
    if not 0 <= number < 1_000_000:
        raise ValueError(f"directive [sim:{name}={value}]: out of range")
    return number
