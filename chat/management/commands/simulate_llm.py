"""`manage.py simulate_llm`: runs the simulated provider that tasks are sent to without a key."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import fields
from typing import Any, TypeVar

import uvloop
from django.core.management.base import BaseCommand, CommandError, CommandParser

from aily.garbage import spare_collections
from chat.llm.simulator.config import SimulatorConfig
from chat.llm.simulator.directives import DIRECTIVES_HELP
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
    "api_key": "the key callers must send; without it every caller is served",
    "journal": "file that a line is added to for every begin and end of a call",
}


def _range_of(kind: Callable[[str], N]) -> Callable[[str], tuple[N, N]]:
    def parse(text: str) -> tuple[N, N]:
        low, _, high = text.partition(":")
        return kind(low), kind(high or low)

    parse.__name__ = "MIN[:MAX]"  # argparse names it in its error message
    return parse


class Command(BaseCommand):
    """Touches neither database nor Redis, so that it may start before them."""

    help = "Serve a simulated LLM provider that speaks DeepSeek's wire format."
    requires_system_checks = ()
    requires_migrations_checks = False

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        return super().create_parser(
            prog_name,
            subcommand,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            epilog=DIRECTIVES_HELP,
            **kwargs,
        )

    def add_arguments(self, parser: CommandParser) -> None:
        for field in fields(SimulatorConfig):
            name = field.name.removesuffix("_seconds") if "latency" in field.name else field.name
            default: Any = field.default
            options: dict[str, Any] = {"type": str}
            if isinstance(default, tuple):
                options = {"type": _range_of(type(default[0])), "metavar": "MIN[:MAX]"}
                shown = ":".join(str(part) for part in default)
            else:
                options = {"type": type(default) if default is not None else str}
                shown = str(default)
            text = f"{_HELP[name]} (default: {shown})"
            flag = "--" + name.replace("_", "-")
            parser.add_argument(flag, dest=field.name, default=default, help=text, **options)

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            config = SimulatorConfig(**{f.name: options[f.name] for f in fields(SimulatorConfig)})
        except ValueError as error:
            raise CommandError(str(error)) from None
        try:
            spare_collections()
            uvloop.run(serve(config, ready=self._announce))
        except OSError as error:
            raise CommandError(f"cannot listen on {config.host}:{config.port}: {error}") from None

    def _announce(self, url: str) -> None:
        self.stdout.write(f"simulated provider ready {url}")
        self.stdout.flush()
