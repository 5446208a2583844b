"""What the launcher shows on the terminal: one line a step, with the time it took."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from rich.console import Console

#: Lines of a log shown when a step fails.
_LOG_TAIL_LINES = 20


class Progress:
    """Prints start-up steps on stdout, with a spinner on a terminal, and warnings on stderr."""

    def __init__(self) -> None:
        self._output = Console(highlight=False, markup=False, soft_wrap=True)
        self._errors = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)

    @contextmanager
    def step(self, what: str) -> Iterator[None]:
        started = time.monotonic()
        spinner = self._output.status(f"{what} …") if self._output.is_terminal else nullcontext()
        with spinner:
            yield
        self._output.print(f"  {what:<36} {time.monotonic() - started:5.1f} s")

    def print_line(self, line: str) -> None:
        self._output.print(line)

    def warn(self, line: str) -> None:
        self._errors.print(line)

    def show_log(self, log_file: Path) -> None:
        """Print the end of a log on stderr."""
        lines = log_file.read_text(errors="replace").splitlines() if log_file.exists() else []
        self._errors.print(f"--- last lines of {log_file}")
        for line in lines[-_LOG_TAIL_LINES:]:
            self._errors.print(line)
