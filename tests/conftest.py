"""Fixtures of all tests: database, cache, and three users: Alice, Bob and a member of staff."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from auditlog.context import disable_auditlog
from django.conf import settings
from django.contrib.auth.models import Permission
from django.db import DEFAULT_DB_ALIAS, connections
from django.db.models import QuerySet
from django.test import AsyncClient, Client, override_settings
from pytest_django.plugin import DjangoDbBlocker

from accounts.models import APIKey, User
from aily.cache import forget_copies, store
from tests.embedded_plugin import run_servers
from tests.prepared import MIGRATED
from tests.running import Running

#: Makes an HTTP client that presents an API key of the user.
ClientOf = Callable[[User], Client]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Shows the logs of what runs for a failed test."""
    report = yield
    if report.failed:
        used = getattr(item, "funcargs", {}).items()
        report.sections += [
            (f"logs of {name}", value.log_tail())
            for name, value in used
            if isinstance(value, Running)
        ]
    return report


@pytest.fixture(autouse=True, scope="session")
def _settings_of_tests() -> Iterator[None]:
    """Static files by their plain names, as nothing is collected; passwords cheap to hash."""
    settings.STATIC_ROOT.mkdir(parents=True, exist_ok=True)
    plain = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
    with override_settings(
        STORAGES={**settings.STORAGES, "staticfiles": plain},
        PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
    ):
        yield


@pytest.fixture(autouse=True, scope="session")
def _reserved_names() -> Iterator[None]:
    """Names that RFC 2606 reserves lead nowhere. A name server may take long to say so."""
    look_up = socket.getaddrinfo

    def getaddrinfo(host: Any, *args: Any, **kwargs: Any) -> list[Any]:
        name = host.decode(errors="replace") if isinstance(host, bytes) else str(host)
        if name.rstrip(".").endswith((".example", ".invalid")):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return look_up(host, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", getaddrinfo)
        yield


@pytest.fixture(autouse=True)
def _empty_cache(_settings_of_tests: None) -> None:
    """What an earlier test cached is about rows that are gone."""
    if run_servers.are_started:
        store.client().flushdb()
    forget_copies()


@pytest.fixture(scope="session")
def django_db_modify_db_settings(django_db_modify_db_settings_parallel_suffix: None) -> None:
    """pytest-django's hook: the test database begins as a copy of one that is migrated."""
    run_servers.ensure_started()
    if not os.environ.get("DATABASE_URL"):
        connections[DEFAULT_DB_ALIAS].settings_dict["TEST"]["TEMPLATE"] = MIGRATED


@pytest.fixture(scope="session")
def database_server(django_db_blocker: DjangoDbBlocker) -> dict[str, str]:
    """How libpq reaches the tests' PostgreSQL, as far as it is set."""
    run_servers.ensure_started()
    with django_db_blocker.unblock():
        parameters = connections[DEFAULT_DB_ALIAS].get_connection_params()
    wanted = {"host", "port", "user", "password"}
    return {key: value for key, value in parameters.items() if key in wanted}


@pytest.fixture
async def async_client() -> AsyncIterator[AsyncClient]:
    yield AsyncClient()
    # Sync code in a request runs on a thread that outlives the test, and the test client, unlike
    # a server, leaves its connection open.
    await sync_to_async(connections.close_all)()


@pytest.fixture
def alice(transactional_db: None) -> User:
    # Transactional: database threads (aily/database/threads.py) see only what is committed.
    with disable_auditlog():
        return User.objects.create_user("alice", password="wonderland-7")


@pytest.fixture
def bob(transactional_db: None) -> User:
    with disable_auditlog():
        return User.objects.create_user("bob", password="builder-of-9")


def grant(user: User, permissions: QuerySet[Permission]) -> None:
    """Insert the user's permissions without signals: the audit log would read the app of each
    permission by a query of its own, half of some tests' time. Cached permissions stay."""
    granted = User.user_permissions.through
    rows = [granted(user=user, permission=permission) for permission in permissions]
    granted.objects.bulk_create(rows, ignore_conflicts=True)


@pytest.fixture
def staff(transactional_db: None) -> User:
    """Staff with every permission on chat, no superuser."""
    with disable_auditlog():
        user = User.objects.create_user("staff", password="backstage-5", is_staff=True)
    grant(user, Permission.objects.filter(content_type__app_label="chat"))
    return user


@pytest.fixture
def client_of() -> ClientOf:
    def make(user: User) -> Client:
        with disable_auditlog():
            _, secret = APIKey.create(user, "test")
        return Client(headers={"Authorization": f"Bearer {secret}"})

    return make
