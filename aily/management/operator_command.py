"""The base of the commands that operators run."""

from __future__ import annotations

from django.core.management.base import BaseCommand


class OperatorCommand(BaseCommand):
    """A command that begins without Django's system checks.

    They load every address of the web: two fifths of the 1.7 s of CPU that such a command takes.
    `migrate` and `make check` run them.
    """

    requires_system_checks = ()
