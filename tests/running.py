"""What tests start, and stop again whatever happens."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

_TAIL_LINES = 30


class Running:
    """`with` starts it, and stops it at the end, also where starting breaks off half-way."""

    def start(self) -> None:
        raise NotImplementedError

    def stop(self) -> None:
        """End whatever of it runs."""
        raise NotImplementedError

    def log_files(self) -> Mapping[str, Path]:
        """Its processes' logs by a name for each."""
        return {}

    def log_tail(self) -> str:
        """The last lines of every log that holds any."""
        tails = {
            name: file.read_text(errors="replace").splitlines()[-_TAIL_LINES:]
            for name, file in self.log_files().items()
            if file.exists()
        }
        return "\n".join(
            line for name, lines in tails.items() if lines for line in (f"--- {name}", *lines)
        )

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()
