"""The simulated provider's command line."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, TypeVar

import uvloop

from chat.llm.simulator.config import JsonObject, SimulatorConfig
from chat.llm.simulator.server import serve

N = TypeVar("N", int, float)

_HELP = {
    "host": "address to listen on",
    "port": "0 takes a free one",
    "seed": "answers are a function of the request and this",
    "latency": "seconds before the first token",
    "tokens_per_second": "of one answer; 0 sends it all at once",
    "answer_tokens": "length of an answer without its reasoning",
    "concurrency": "requests of one model at once, further ones get 429; 0 sets no cap",
    "error_rate": "share of requests answered with 500 or 503",
    "truncate_rate": "share of answers that end in the middle",
    "stall_rate": "share of answers that pause in the middle",
    "stall_seconds": "length of such a pause",
    "keep_alive_seconds": "time between two keep-alives",
    "write_seconds": "tokens of this time go out in one write",
    "writes_per_second": "at most, for all answers together; writes get larger instead",
    "structured_output": "native, json_object (json_schema is refused) or prompt (both are)",
    "api_key": "the key callers must send; without it every caller is served",
    "journal": "file that a line is added to for every begin and end of a call",
}


def _range_of(kind: Callable[[str], N]) -> Callable[[str], tuple[N, N]]:
    def parse(text: str) -> tuple[N, N]:
        low, _, high = text.partition(":")
        return kind(low), kind(high or low)

    parse.__name__ = "MIN[:MAX]"  # argparse names it in its error message
    return parse


def add_options(parser: argparse.ArgumentParser) -> None:
    """One option for each field of SimulatorConfig."""
    for field in fields(SimulatorConfig):
        name = field.name.removesuffix("_seconds") if "latency" in field.name else field.name
        default: Any = field.default
        options: JsonObject = {"type": str}
        if isinstance(default, tuple):
            options = {"type": _range_of(type(default[0])), "metavar": "MIN[:MAX]"}
            shown = ":".join(str(part) for part in default)
        else:
            options = {"type": type(default) if default is not None else str}
            shown = str(default)
        text = f"{_HELP[name]} (default: {shown})"
        flag = "--" + name.replace("_", "-")
        parser.add_argument(flag, dest=field.name, default=default, help=text, **options)


def run(options: Mapping[str, Any], announce: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT with parsed options; `announce` is called with the URL.

    Raises ValueError naming a bad field, or OSError naming an address that cannot be listened on.
    """
    names = [field.name for field in fields(SimulatorConfig)]
    config = SimulatorConfig(**{name: options[name] for name in names})
    try:
        uvloop.run(serve(config, ready=announce))
    except OSError as error:
        raise OSError(f"cannot listen on {config.host}:{config.port}: {error}") from None
