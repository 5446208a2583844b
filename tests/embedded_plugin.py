"""pytest plugin: gives a test run a PostgreSQL and a Valkey of its own, and takes them down again.

Loaded with `-p` (pyproject.toml), before pytest-django reads the settings: they take the addresses
of the servers from AILY_DATA_DIR. With DATABASE_URL or REDIS_URL set, that server is used instead.
"""

from __future__ import annotations

import fcntl
import os
import threading
from itertools import count
from pathlib import Path

import pytest

from aily.process.start import begin_loading
from tests.prepared import TEST_ROOT, copy_prepared, make_prepared
from tests.servers import Servers


def _claim_data_dir() -> tuple[Path, int]:
    """The first of `var/test/0`, `var/test/1`... that is free, with the file
    descriptor whose lock keeps it ours."""
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


# As an entry point does: a test run loads as much as a process.
begin_loading()
_data_dir, _lock = _claim_data_dir()
os.environ["AILY_DATA_DIR"] = str(_data_dir)
_servers = Servers(_data_dir)


def _is_controller(config: pytest.Config) -> bool:
    """With pytest-xdist the tests run in its workers, each with servers of its own."""
    return bool(config.getoption("numprocesses", None)) and not hasattr(config, "workerinput")


def pytest_sessionstart(session: pytest.Session) -> None:
    """Begin with what all workers wait for while they still collect tests."""
    if _is_controller(session.config) and not session.config.option.collectonly:
        threading.Thread(target=make_prepared).start()


def pytest_collection_finish(session: pytest.Session) -> None:
    if not session.config.option.collectonly and not _is_controller(session.config):
        _servers.end_leftovers()
        if not os.environ.get("DATABASE_URL"):
            copy_prepared("postgres", _data_dir)
        _servers.start()


def pytest_unconfigure() -> None:
    _servers.stop()
