"""pytest plugin: gives a test run a PostgreSQL and a Valkey of its own, and takes them down again.

They start when the first test asks for the database, or connects to Redis: a run of pure unit tests
starts neither. With DATABASE_URL or REDIS_URL set, that server is used instead.

Loaded with `-p` (pyproject.toml), before pytest-django reads the settings: they take the addresses
of the servers from AILY_DATA_DIR.
"""

from __future__ import annotations

import fcntl
import functools
import gc
import os
import threading
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import redis
import redis.asyncio

from aily.embedded.addresses import valkey_socket
from aily.process.start import begin_loading
from tests.prepared import TEST_ROOT, copy_cluster, prepare_all
from tests.servers import Servers

#: What gives up after a few seconds by default has longer, in this process, its stacks and its
#: commands: on CI's two cores, with five processes of tests, what takes a moment takes seconds. A
#: test of a limit sets its own.
_AMPLE_LIMITS = {
    "DATABASE_ANSWER_SECONDS": "60",
    "DATABASE_POOL_TIMEOUT_SECONDS": "20",
    "OIDC_TIMEOUT_SECONDS": "20",
    "REDIS_TIMEOUT_SECONDS": "20",
    "TABLE_QUERY_SECONDS": "30",
}


def _claim_data_dir() -> tuple[Path, int]:
    """The first of `var/test/0`, `var/test/1`... that no other run has, and the file descriptor
    whose lock reserves it for this run."""
    for number in count():
        data_dir = TEST_ROOT / str(number)
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(data_dir / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
        else:
            return data_dir, lock
    raise AssertionError


class RunServers:
    """The servers of this run, started once, by whatever needs them first."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._servers = Servers(data_dir)
        #: Reentrant: starting connects to the Valkey, to see whether it answers.
        self._lock = threading.RLock()
        self._is_starting = False
        self.are_started = False

    def ensure_started(self) -> None:
        with self._lock:
            if self.are_started or self._is_starting:
                return
            self._is_starting = True
            try:
                self._start()
            finally:
                self._is_starting = False
            self.are_started = True

    def _start(self) -> None:
        self._servers.end_leftovers()
        if not os.environ.get("DATABASE_URL"):
            copy_cluster(self._data_dir)
        self._servers.start()

    def start_on_first_connection(self) -> None:
        """Start them when anything of this process connects to the socket of the run's Valkey."""
        socket = str(valkey_socket(self._data_dir))
        for kind in (redis.UnixDomainSocketConnection, redis.asyncio.UnixDomainSocketConnection):
            _patch.setattr(kind, "connect", self._starting_before(kind.connect, socket))

    def _starting_before(self, connect: Callable[..., Any], socket: str) -> Callable[..., Any]:
        @functools.wraps(connect)
        def start_and_connect(connection: Any) -> Any:
            if not self.are_started and connection.path == socket:
                self.ensure_started()
            return connect(connection)

        return start_and_connect

    def stop(self) -> None:
        self._servers.stop()


_patch = pytest.MonkeyPatch()
# As an entry point does: a test run loads as much as a process.
begin_loading()
_data_dir, _lock = _claim_data_dir()
os.environ["AILY_DATA_DIR"] = str(_data_dir)
for _name, _value in _AMPLE_LIMITS.items():
    os.environ.setdefault(_name, _value)
run_servers = RunServers(_data_dir)


def _is_controller(config: pytest.Config) -> bool:
    """With pytest-xdist the tests run in its workers, each with servers of its own."""
    return bool(config.getoption("numprocesses", None)) and not hasattr(config, "workerinput")


def pytest_sessionstart(session: pytest.Session) -> None:
    """Make what all workers copy while they still collect tests."""
    if _is_controller(session.config) and not session.config.option.collectonly:
        threading.Thread(target=prepare_all).start()


def pytest_collection_finish(session: pytest.Session) -> None:
    if session.config.option.collectonly or _is_controller(session.config):
        return
    if os.environ.get("REDIS_URL"):
        run_servers.ensure_started()
    run_servers.start_on_first_connection()
    # pytest collects garbage at the end; what all tests are made of is none.
    gc.freeze()


def pytest_unconfigure() -> None:
    run_servers.stop()
    _patch.undo()
