"""pytest plugin: which tests share a process of pytest-xdist, which begin first, and timeouts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pytest
from xdist.scheduler import LoadFileScheduling

#: Files that share one running installation, which takes long to start. A file belongs to the first
#: group that names it: some of tests/e2e/ start installations of their own.
_GROUPS = (
    ("tests/e2e/test_outages.py",),
    ("tests/e2e/test_replica.py",),
    ("tests/e2e/test_full_disk.py",),
    ("tests/e2e/test_tool_loop.py",),
    ("tests/e2e/web/",),
    ("tests/e2e/",),
    ("tests/clients/",),
)
#: Begun first, so that no process works alone at the end.
_SLOWEST_FIRST = (
    "tests/e2e/",
    "tests/e2e/web/",
    "tests/clients/",
)
#: What waits most of its time, the slowest first: it is spread among what computes, so that some
#: process always has work for the CPU.
_WAITING = (
    "tests/chat/api/test_fuzz.py",
    "tests/e2e/test_tool_loop.py",
    "tests/deploy/",
    "tests/aily/launcher/test_launch.py",
    "tests/chaos/",
    "tests/e2e/test_replica.py",
    "tests/e2e/test_full_disk.py",
    "tests/e2e/test_outages.py",
    "tests/accounts/test_oidc.py",
    "tests/chat/runner/",
    "tests/chat/structured/",
    "tests/chat/mcp_server/",
    "tests/chat/tools/",
    "tests/chat/llm/",
    "tests/aily/redis/test_sentinel.py",
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
    groups = _in_order(dict.fromkeys(_group(item.nodeid) for item in items))
    places = {group: place for place, group in enumerate(groups)}
    items.sort(key=lambda item: places[_group(item.nodeid)])
    for item in items:
        if item.nodeid.startswith(_INSTALLATIONS) or item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.timeout(INSTALLATION_SECONDS))


def _in_order(groups: Iterable[str]) -> list[str]:
    """The slowest, and then the others, those that wait evenly spread."""
    first: list[tuple[int, str]] = []
    waiting: list[tuple[int, str]] = []
    computing: list[tuple[int, str]] = []
    for group in groups:
        if (rank := _rank(group, _WAITING)) is not None:
            waiting.append((rank, group))
        elif (rank := _rank(group, _SLOWEST_FIRST)) is not None:
            first.append((rank, group))
        else:
            computing.append((0, group))
    spread = [
        ((place + 0.5) / len(part), group)
        for part in (sorted(waiting), computing)
        for place, (_, group) in enumerate(part)
    ]
    return [group for _, group in [*sorted(first), *sorted(spread)]]


def _rank(group: str, names: Sequence[str]) -> int | None:
    """The place of the group's own name, or of one that it begins with."""
    if group in names:
        return names.index(group)
    return next((rank for rank, name in enumerate(names) if group.startswith(name)), None)
