"""The interface of embedded servers, and waiting until one is ready."""

from __future__ import annotations

import os
import signal
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar, Protocol

import psutil


class EmbeddedServiceError(Exception):
    """An embedded server cannot run here. The message says why and what to do."""


class EmbeddedService(Protocol):
    """A server that runs in the foreground, so that any process manager can run it."""

    name: ClassVar[str]
    stop_signal: ClassVar[signal.Signals]

    @property
    def working_dir(self) -> Path: ...

    @property
    def pid_file(self) -> Path: ...

    def prepare(self) -> None:
        """Create what the server needs on disk. Raises EmbeddedServiceError."""
        ...

    def command(self) -> list[str]:
        """Argument vector that runs the server in the foreground."""
        ...

    def reason_not_ready(self) -> str:
        """Send the server a request; returns why it is not ready, or "" if it answers."""
        ...


def wait_until_ready(
    service: EmbeddedService,
    log_file: Path,
    timeout_seconds: float = 60,
    check: Callable[[], None] = lambda: None,
) -> None:
    """Return once the server answers. `check` runs between tries and may raise to give up early.

    Raises EmbeddedServiceError after the time, naming the log file.
    """
    deadline = time.monotonic() + timeout_seconds
    while reason := service.reason_not_ready():
        check()
        if time.monotonic() > deadline:
            raise EmbeddedServiceError(
                f"{service.name} did not become ready in {timeout_seconds:.0f} s "
                f"({reason}); see {log_file}"
            )
        time.sleep(0.03)


def make_private(path: Path) -> None:
    """Create a directory with mode 0700, or check that an existing one is this user's alone.

    Raises EmbeddedServiceError for a link, or a directory of another user, as there may be in /tmp.
    """
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = path.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
        raise EmbeddedServiceError(
            f"{path} belongs to another user; run as that user, or set AILY_DATA_DIR"
        )
    if stat.S_IMODE(status.st_mode) & 0o077:
        path.chmod(0o700)


def process_of(pid_file: Path, name: str) -> psutil.Process | None:
    """The running process of that name whose pid is the file's first line, if there is one.

    The name guards against a pid that the kernel has given to another process since.
    """
    try:
        process = psutil.Process(int(pid_file.read_text().split("\n", 1)[0]))
        return process if name in " ".join([process.name(), *process.cmdline()]) else None
    except (FileNotFoundError, ValueError, psutil.NoSuchProcess):
        return None
