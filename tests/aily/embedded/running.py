"""An embedded server that runs for a test."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from aily.embedded.service import (
    EmbeddedService,
    wait_until_ready,
)


@contextmanager
def running(service: EmbeddedService, log_file: Path) -> Iterator[subprocess.Popen[bytes]]:
    service.prepare()
    with (
        log_file.open("wb") as output,
        subprocess.Popen(
            service.command(), cwd=service.working_dir, stdout=output, stderr=subprocess.STDOUT
        ) as process,
    ):
        try:
            wait_until_ready(service, log_file, timeout_seconds=120)
            yield process
        finally:
            process.send_signal(service.stop_signal)
