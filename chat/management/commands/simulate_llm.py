"""`manage.py simulate_llm`: runs the simulated provider that tasks are sent to without a key."""

from __future__ import annotations

import argparse
from typing import Any

from django.core.management.base import CommandError, CommandParser

from aily.management.operator_command import OperatorCommand
from aily.process.start import end_loading
from chat.llm.simulator.command_line import add_options, run
from chat.llm.simulator.directives import DIRECTIVES_HELP


class Command(OperatorCommand):
    """Touches neither database nor Redis, so that it may start before them."""

    help = "Serve a simulated LLM provider that speaks DeepSeek's wire format."
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
        add_options(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        end_loading()
        try:
            run(options, self._announce)
        except (ValueError, OSError) as error:
            raise CommandError(str(error)) from None

    def _announce(self, url: str) -> None:
        self.stdout.write(f"simulated provider ready {url}")
        self.stdout.flush()
