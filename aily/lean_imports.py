"""Keeps out of every process what a library would load along with the little that is used of it."""

from __future__ import annotations

import sys


def leave_out_httpx_command_line() -> None:
    """httpx looks for its command line's packages (click, rich, pygments), which are installed for
    other reasons, and loads them: 90 ms of CPU at each start. It does without where that fails."""
    absent: None = None
    sys.modules.setdefault("httpx._main", absent)  # type: ignore[arg-type]
