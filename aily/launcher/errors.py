"""Why a start fails."""

from __future__ import annotations

from pathlib import Path


class StartupError(Exception):
    """A step failed; the message is for the terminal, the log says more."""

    def __init__(self, message: str, log_file: Path | None = None) -> None:
        super().__init__(message)
        self.log_file = log_file
