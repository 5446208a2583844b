"""The embedded PostgreSQL and Valkey, for tests: they keep nothing over a power failure."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from aily.embedded.addresses import log_dir
from aily.embedded.postgres import EmbeddedPostgres
from aily.embedded.service import EmbeddedService, make_private, process_of, wait_until_ready
from aily.embedded.valkey import EmbeddedValkey
from aily.process.lifetimes import end_processes
from tests.running import Running
from tests.starting import start_process


class Servers(Running):
    """Those of a data directory, but for those that have another address in the environment."""

    def __init__(self, data_dir: Path, environment: Mapping[str, str] = os.environ) -> None:
        self._data_dir = data_dir
        self._services: list[EmbeddedService] = []
        if not environment.get("DATABASE_URL"):
            self._services.append(EmbeddedPostgres(data_dir, durable=False))
        if not environment.get("REDIS_URL"):
            self._services.append(EmbeddedValkey(data_dir, durable=False))
        self._running: list[tuple[EmbeddedService, subprocess.Popen[bytes]]] = []

    def start(self) -> None:
        make_private(log_dir(self._data_dir))
        for service in self._services:
            service.prepare()
            self._running.append((service, self._start(service)))
        for service in self._services:
            wait_until_ready(service, self._log_file(service))

    def stop(self) -> None:
        for service, process in self._running:
            process.send_signal(service.stop_signal)
        for _, process in self._running:
            process.wait(30)
        self._running.clear()

    def log_files(self) -> Mapping[str, Path]:
        return {service.name: self._log_file(service) for service in self._services}

    def _start(self, service: EmbeddedService) -> subprocess.Popen[bytes]:
        """In a session of its own: Ctrl-C is for pytest, whose tests still need the servers."""
        with self._log_file(service).open("wb") as output:
            return start_process(
                service.command(),
                cwd=service.working_dir,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _log_file(self, service: EmbeddedService) -> Path:
        return log_dir(self._data_dir) / f"{service.name}.log"

    def end_leftovers(self) -> None:
        """Wait for the servers of a killed run to end; the kernel has sent them a signal."""
        left = [process_of(service.pid_file, service.name) for service in self._services]
        end_processes([process for process in left if process is not None], grace_seconds=10)
