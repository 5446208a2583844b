"""pytest plugin: which tests share a process of pytest-xdist, and which begin first."""

from __future__ import annotations

from typing import Any

import pytest
from xdist.scheduler import LoadFileScheduling

#: Begun first, so that nobody waits for them at the end.
_SLOWEST_FIRST = ("tests/e2e/", "tests/aily/test_launcher.py", "tests/chaos/")
#: All its files share one running installation, which takes long to start.
_ONE_PROCESS = "tests/e2e/"


class _OneStack(LoadFileScheduling):
    """A file's tests run in one process, those of `e2e` all in the same one.

    Not pytest-xdist's `loadgroup`, which pytest 9.2 has no nodes for.
    """

    def _split_scope(self, nodeid: str) -> str:
        return _ONE_PROCESS if nodeid.startswith(_ONE_PROCESS) else str(nodeid.split("::", 1)[0])


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> _OneStack:
    return _OneStack(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: _rank(item.nodeid))


def _rank(nodeid: str) -> int:
    ranks = (rank for rank, path in enumerate(_SLOWEST_FIRST) if nodeid.startswith(path))
    return next(ranks, len(_SLOWEST_FIRST))
