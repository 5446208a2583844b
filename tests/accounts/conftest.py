"""Somebody who looks after users, roles and menus, and no superuser."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.contrib.auth.models import Permission
from django.test import override_settings

from accounts.models import User
from accounts.sessions.keys import login
from aily.redis.clients import sync_redis
from tests.conftest import grant
from tests.embedded_plugin import run_servers


@pytest.fixture
def keeper(transactional_db: None) -> User:
    user = User.objects.create_user("keeper", password="keys-of-5", is_staff=True)
    grant(user, Permission.objects.filter(content_type__app_label="accounts"))
    return user


@pytest.fixture(autouse=True)
def _forgotten_tries(_settings_of_tests: None) -> Iterator[None]:
    """No try at a password that an earlier test made counts, and refusals are answered at once."""
    if run_servers.are_started:
        for key in sync_redis().scan_iter(login("*"), count=1000):
            sync_redis().delete(key)
    with override_settings(LOGIN_HOLD_SECONDS=0):
        yield
