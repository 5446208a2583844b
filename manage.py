#!/usr/bin/env python
"""Django's command line."""

import os
import sys
from contextlib import nullcontext

from django.core.management import execute_from_command_line

from aily.process.start import begin_loading

#: Commands that run until they are stopped, and wait for a server that is away.
LONG_RUNNING = ("crontab", "runserver", "simulate_llm")


def main() -> None:
    """Run the command of the command line."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "aily.settings")
    # A migration may take longer than any request.
    os.environ.setdefault("DATABASE_ANSWER_SECONDS", "0")
    # The names of commands are names of modules; people type them with hyphens as well.
    if len(sys.argv) > 1 and not sys.argv[1].startswith("-"):
        sys.argv[1] = sys.argv[1].replace("-", "_")
    begin_loading()
    # Imports the settings, which end the process if a variable is wrong.
    from aily.database.command_outages import end_at_outage

    is_long_running = sys.argv[1:2] and sys.argv[1] in LONG_RUNNING
    with nullcontext() if is_long_running else end_at_outage():
        execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
