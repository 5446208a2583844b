"""How a process ends when its environment asks for something impossible."""

from __future__ import annotations

import sys
from typing import NoReturn


class ConfigurationError(SystemExit):
    """A variable has a wrong value. The message names the variable and quotes no secret.

    A SystemExit, because settings are imported from inside Django, Dramatiq and the web servers:
    each of them would otherwise wrap the sentence in a traceback and choose an exit code itself.
    """

    def __init__(self, message: str) -> None:
        super().__init__(2)
        self.message = message

    def __str__(self) -> str:
        return self.message


def refuse(message: str) -> NoReturn:
    """Print the sentence on standard error, and end the process with exit code 2."""
    sys.stderr.write(f"aily: {message}\n")
    raise ConfigurationError(message)
