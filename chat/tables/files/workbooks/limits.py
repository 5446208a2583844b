"""What a child process may use, set by itself before it reads anything. Knows no Django."""

from __future__ import annotations

import os
import resource
import sys
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

#: A workbook of 24 MB takes python-calamine 240 MB.
MEMORY_BYTES = 2**30
CPU_SECONDS = 120
#: Below the worker, which shares the processors with it.
_NICENESS = 5
#: Exit code: the message for the user is on standard error.
REFUSED = 3


def confine() -> None:
    os.nice(_NICENESS)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS + 1))
    # macOS refuses it.
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    with suppress(OSError):
        # Where memory runs out, the kernel takes it before the worker.
        Path("/proc/self/oom_score_adj").write_text("1000")


def refuse(message: str) -> NoReturn:
    """End the process; `message` is for the user."""
    sys.stderr.write(message)
    sys.exit(REFUSED)
