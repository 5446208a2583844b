"""supervisord, which goes on when its logs cannot be written: run by `python -m`.

By itself it ends when the disk of a log is full, and takes every process along.
"""

from __future__ import annotations

from pathlib import Path

from supervisor import loggers, supervisord


class LossyFile(loggers.RotatingFileHandler):
    """A log file that loses lines while the disk is full, and goes on when there is room."""

    def emit(self, record: object) -> None:
        try:
            super().emit(record)
        except (OSError, ValueError):
            # Rotating failed, and has left the file closed.
            self._open_again()

    def _open_again(self) -> None:
        try:
            self.stream = Path(self.baseFilename).open(self.mode)  # noqa: SIM115 (open until it is rotated)
            self.closed = False
        except OSError:
            # The next line tries again.
            pass

    def handleError(self) -> None:  # noqa: N802 - supervisor's name
        """Nothing: a traceback on standard error is a line on the same full disk."""


if __name__ == "__main__":
    loggers.RotatingFileHandler = LossyFile
    supervisord.main()
