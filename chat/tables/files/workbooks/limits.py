"""What a child process may use, set by itself before it reads anything. Imports no Django."""

from __future__ import annotations

import os
import resource
import sys
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

#: A workbook of 24 MB takes python-calamine 240 MB.
MEMORY_BYTES = 2**30
#: Reading 100,000 rows of 20 columns takes 2 s, writing them 13 s; a million is the most.
READING_SECONDS, WRITING_SECONDS = 60, 600
#: Below the worker, which shares the processors with it.
_NICENESS = 5
#: Exit code: the message for the user is on standard error.
REFUSED = 3


def confine(cpu_seconds: int) -> None:
    os.nice(_NICENESS)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds + 1))
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
