"""pytest plugin: which tests share a process of pytest-xdist, which begin first, and timeouts."""

from __future__ import annotations

from typing import Any

import pytest
from xdist.scheduler import LoadFileScheduling

#: Files that share one running installation, which takes long to start. The first group that has a
#: file is its own: what tests/e2e/ has is too much for one process, and some start their own.
_GROUPS = (
    ("tests/e2e/test_outages.py",),
    ("tests/e2e/test_replica.py",),
    ("tests/e2e/test_full_disk.py",),
    ("tests/e2e/test_tool_loop.py",),
    ("tests/e2e/web/",),
    (
        "tests/e2e/test_clients.py",
        "tests/e2e/test_examples.py",
        "tests/e2e/test_js_client.py",
        "tests/e2e/test_readme.py",
        "tests/e2e/test_resume.py",
        "tests/e2e/test_runs.py",
        "tests/e2e/test_table_runs.py",
    ),
    ("tests/e2e/",),
    ("tests/clients/",),
)
#: Begun first, so that no process works alone at the end. The last ones wait more than they
#: compute, which costs no time beside tests that compute.
_SLOWEST_FIRST = (
    "tests/e2e/web/",
    "tests/e2e/test_clients.py",
    "tests/e2e/",
    "tests/clients/",
    "tests/chat/api/test_fuzz.py",
    "tests/aily/launcher/test_launch.py",
    "tests/chaos/",
    "tests/deploy/",
    "tests/e2e/test_tool_loop.py",
    "tests/e2e/test_outages.py",
    "tests/e2e/test_replica.py",
    "tests/e2e/test_full_disk.py",
    "tests/chat/runner/test_scheduling.py",
    "tests/accounts/",
    "tests/aily/redis/test_sentinel.py",
    "tests/chat/runner/",
    "tests/chat/accounting/",
    "tests/chat/llm/",
)
#: What starts whole installations, whose own bounds for that are up to 180 s, may take so long.
_INSTALLATIONS = (
    "tests/e2e/",
    "tests/clients/",
    "tests/aily/launcher/test_launch.py",
    "tests/chaos/",
    "tests/deploy/",
)
INSTALLATION_SECONDS = 300


class _OneStack(LoadFileScheduling):
    """A file's tests run in one process, those of a group all in the same one.

    Not pytest-xdist's `loadgroup`, which pytest 9.2 has no nodes for.
    """

    def _split_scope(self, nodeid: str) -> str:
        return _group(nodeid)


def _group(nodeid: str) -> str:
    """The first name of the file's group, or the file."""
    file = nodeid.split("::", 1)[0]
    return next((group[0] for group in _GROUPS if file.startswith(group)), file)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> _OneStack:
    return _OneStack(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: _rank(item.nodeid))
    for item in items:
        if item.nodeid.startswith(_INSTALLATIONS) or item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.timeout(INSTALLATION_SECONDS))


def _rank(nodeid: str) -> int:
    group = _group(nodeid)
    if group in _SLOWEST_FIRST:
        return _SLOWEST_FIRST.index(group)
    ranks = (rank for rank, path in enumerate(_SLOWEST_FIRST) if group.startswith(path))
    return next(ranks, len(_SLOWEST_FIRST))
