"""What tests of sessions have in common."""

from __future__ import annotations

import pytest
from django.test import Client

from accounts.models import User
from tests.accounts.authenticator import Authenticator, set_up


@pytest.fixture
def app(staff: User) -> Authenticator:
    """The authenticator that staff have set up, in a browser of its own."""
    client = Client()
    client.force_login(staff)
    return set_up(client)
