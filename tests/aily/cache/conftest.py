"""A cache with nothing in it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pytest_django import DjangoDbBlocker

from aily.cache import store


@pytest.fixture(autouse=True)
def _empty(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """A cache with nothing in it. The database is only asked whether a transaction is open."""
    store.client().flushdb()
    with django_db_blocker.unblock():
        yield
