#!/usr/bin/env python
"""Django's command line."""

import os
import sys

from django.core.management import execute_from_command_line

from aily.process.start import begin_loading

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "aily.settings")
    # A migration may take longer than any request.
    os.environ.setdefault("DATABASE_ANSWER_SECONDS", "0")
    # The names of commands are names of modules; people type them with hyphens as well.
    if len(sys.argv) > 1 and not sys.argv[1].startswith("-"):
        sys.argv[1] = sys.argv[1].replace("-", "_")
    begin_loading()
    execute_from_command_line(sys.argv)
