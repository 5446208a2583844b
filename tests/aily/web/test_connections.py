"""How many lasting connections a user may have to one process."""

from __future__ import annotations

import pytest
from pytest_django import Settings

from aily.problems import LimitReached
from aily.web.connections import Connections


def test_one_too_many_is_refused_and_says_when_to_come_back(settings: Settings) -> None:
    settings.MAX_CONNECTIONS_PER_USER = 2
    connections = Connections()
    with connections.opened(1), connections.opened(1):
        with pytest.raises(LimitReached) as caught, connections.opened(1):
            pass
        assert caught.value.details() == {"limit": {"name": "max_connections", "value": 2}}
        assert caught.value.retry_after_seconds
        with connections.opened(2):
            pass
    with connections.opened(1), connections.opened(1):
        pass


def test_a_connection_that_breaks_gives_its_place_back(settings: Settings) -> None:
    settings.MAX_CONNECTIONS_PER_USER = 1
    connections = Connections()
    for _ in range(2):
        with pytest.raises(OSError, match="gone"), connections.opened(1):
            raise OSError("gone")


def test_zero_is_no_limit(settings: Settings) -> None:
    settings.MAX_CONNECTIONS_PER_USER = 0
    connections = Connections()
    with connections.opened(1), connections.opened(1), connections.opened(1):
        pass
