"""Sessions whose user is known without a query: as safe as when Django looks."""

from __future__ import annotations

from django.contrib.auth.backends import ModelBackend
from django.test import AsyncClient
from pytest_django import Settings

from accounts.access.grants import USERS
from accounts.authentication import identify_session
from accounts.models import User
from aily.cache import store
from aily.database.threads import in_database
from tests.chat.api.conftest import queries as queries


async def test_a_session_costs_no_query_and_ends_with_the_password_on_every_door(
    alice: User, async_client: AsyncClient, queries: list[str]
) -> None:
    await async_client.aforce_login(alice)
    session_key = async_client.cookies["sessionid"].value
    for _ in range(2):
        queries.clear()
        assert (await async_client.get("/api/me")).status_code == 200
        assert await in_database(identify_session, session_key) is not None
    assert queries == []
    alice.set_password("another-one-8")
    await in_database(alice.save)
    assert await in_database(identify_session, session_key, check=True) is None
    assert (await async_client.get("/api/me")).status_code == 401


async def test_a_session_that_only_the_database_has_is_a_session_for_a_socket_too(
    alice: User, async_client: AsyncClient
) -> None:
    await async_client.aforce_login(alice)
    store.client().flushdb()
    identity = await in_database(identify_session, async_client.cookies["sessionid"].value)
    assert identity is not None
    assert identity.user == alice


async def test_a_backend_of_another_kind_is_asked_itself(
    alice: User, async_client: AsyncClient, settings: Settings
) -> None:
    backend = f"{__name__}.Suspicious"
    settings.AUTHENTICATION_BACKENDS = [backend]
    await in_database(USERS.get, alice.pk)
    await async_client.aforce_login(alice, backend=backend)
    assert (await async_client.get("/api/me")).status_code == 401


class Suspicious(ModelBackend):
    """Lets nobody stay, for reasons that no cache knows."""

    def get_user(self, user_id: int) -> None:
        return None
