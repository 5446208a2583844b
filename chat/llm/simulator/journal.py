"""A journal file: one line for each event of a call, which survives a kill of the simulator."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

#: Enough to tell the prompts of a test apart.
PROMPT_CHARS = 100


class Journal:
    """Appends JSON lines, each with `at` (Unix time in seconds) and `event`:

    - `start`: the simulator listens; calls open before ended with the process before it.
    - `begin`: a call is let in; has `id` (its x-request-id), `model` and `prompt`.
    - `end`: its place in the cap is free again; has `id` and `completed`: was the answer whole.
    - `refused`: answered with an error status, before or after it was let in; has `status`.
    """

    def __init__(self, path: Path) -> None:
        # No buffer: what is written is the kernel's, and outlives this process.
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def start(self) -> None:
        self._write("start")

    def begin(self, call_id: str, model: str, prompt: str) -> None:
        self._write("begin", id=call_id, model=model, prompt=prompt[:PROMPT_CHARS])

    def end(self, call_id: str, *, completed: bool) -> None:
        self._write("end", id=call_id, completed=completed)

    def refused(self, status: int) -> None:
        self._write("refused", status=status)

    def close(self) -> None:
        os.close(self._file)

    def _write(self, event: str, **fields: Any) -> None:
        line = json.dumps({"at": time.time(), "event": event, **fields}, ensure_ascii=False)
        os.write(self._file, f"{line}\n".encode("utf-8", "replace"))
