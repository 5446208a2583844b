"""A caller of the REST API, by a key."""

from __future__ import annotations

import pytest
from django.test import Client

from accounts.models import User
from tests.conftest import ClientOf


@pytest.fixture
def client(alice: User, client_of: ClientOf) -> Client:
    return client_of(alice)
