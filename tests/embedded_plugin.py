"""pytest plugin: gives a test run a PostgreSQL and a Valkey of its own, and takes them down again.

Loaded with `-p` (pyproject.toml), before pytest-django reads the settings: they take the addresses
of the servers from AILY_DATA_DIR. With DATABASE_URL or REDIS_URL set, that server is used instead.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
from itertools import count
from pathlib import Path

import pytest

from aily.embedded.addresses import log_dir
from aily.embedded.postgres import EmbeddedPostgres
from aily.embedded.service import EmbeddedService, make_private, process_of, wait_until_ready
from aily.embedded.valkey import EmbeddedValkey
from aily.processes import end_processes

BASE_DIR = Path(__file__).resolve().parent.parent


class TestServers:
    """The servers of one test run, in a directory that no other run uses at the same time."""

    __test__ = False

    def __init__(self) -> None:
        self.data_dir, self._lock = _claim_data_dir()
        self._running: list[tuple[EmbeddedService, subprocess.Popen[bytes]]] = []

    def start(self) -> None:
        services: list[EmbeddedService] = []
        if not os.environ.get("DATABASE_URL"):
            services.append(EmbeddedPostgres(self.data_dir, durable=False))
        if not os.environ.get("REDIS_URL"):
            services.append(EmbeddedValkey(self.data_dir, durable=False))
        make_private(log_dir(self.data_dir))
        for service in services:
            self._end_leftover(service)
            service.prepare()
            self._running.append((service, self._start(service)))
        for service in services:
            wait_until_ready(service, self._log_file(service))

    def stop(self) -> None:
        for service, process in self._running:
            process.send_signal(service.stop_signal)
        for _, process in self._running:
            process.wait(30)
        self._running.clear()

    def _start(self, service: EmbeddedService) -> subprocess.Popen[bytes]:
        """In a session of its own: Ctrl-C is for pytest, whose tests still need the servers."""
        with self._log_file(service).open("wb") as output:
            return subprocess.Popen(
                service.command(),
                cwd=service.working_dir,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _log_file(self, service: EmbeddedService) -> Path:
        return log_dir(self.data_dir) / f"{service.name}.log"

    def _end_leftover(self, service: EmbeddedService) -> None:
        """The kernel has told what a killed run left to end; here it is waited for."""
        left = process_of(service.pid_file, service.name)
        if left is not None:
            end_processes([left], grace_seconds=10)


def _claim_data_dir() -> tuple[Path, int]:
    """The first of `var/test/0`, `var/test/1`... that is free, with the file
    descriptor whose lock keeps it ours.

    They are kept between runs, which saves creating a cluster.
    """
    root = Path(os.environ[_ROOT])
    for number in count():
        data_dir = root / str(number)
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(data_dir / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
        else:
            return data_dir, lock
    raise AssertionError


_ROOT = "AILY_TEST_ROOT"
_base = Path(os.environ.get("AILY_DATA_DIR") or BASE_DIR / "var").resolve()
# pytest-xdist's workers inherit the environment, AILY_DATA_DIR as changed below included.
os.environ.setdefault(_ROOT, str(_base / "test"))
_servers = TestServers()
os.environ["AILY_DATA_DIR"] = str(_servers.data_dir)


def pytest_sessionstart(session: pytest.Session) -> None:
    # With pytest-xdist the tests run in its workers, each with servers of its own.
    is_controller = bool(session.config.getoption("numprocesses", None)) and not hasattr(
        session.config, "workerinput"
    )
    if not session.config.option.collectonly and not is_controller:
        _servers.start()


def pytest_unconfigure() -> None:
    _servers.stop()
