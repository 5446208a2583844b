"""Starts processes from a thread that lasts as long as the test run.

The kernel counts as the parent of a process the thread that started it: what is tied to its parent
(aily/process/lifetimes.py) is killed when that thread ends, as the threads of an event loop do at
the end of each test.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

_starter = ThreadPoolExecutor(1, "starting processes")


def start_process(command: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:
    """`subprocess.Popen`, from any thread."""

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen(command, **options)

    return _starter.submit(start).result()
