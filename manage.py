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
    begin_loading()
    execute_from_command_line(sys.argv)
