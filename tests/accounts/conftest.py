"""Somebody who looks after users, roles and menus, and no superuser."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Permission

from accounts.models import User
from tests.conftest import grant


@pytest.fixture
def keeper(transactional_db: None) -> User:
    user = User.objects.create_user("keeper", password="keys-of-5", is_staff=True)
    grant(user, Permission.objects.filter(content_type__app_label="accounts"))
    return user
