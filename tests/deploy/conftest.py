"""The one deployment that the tests of deploy/ share."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator, Generator, Iterator
from pathlib import Path

import psycopg
import pytest
from django.conf import settings
from django.db import connections
from pytest_django.plugin import DjangoDbBlocker

from tests.client import RestClient
from tests.deploy.deployment import Deployment

_DATABASE = "aily_deploy"
_PROGRAMS = ("nginx", "pgbouncer", "prometheus", "promtool", "envsubst", "openssl")


def require(*programs: str) -> None:
    """Skip the test where one of these is missing; fail it where nothing may be skipped."""
    path = f"{os.environ['PATH']}:/usr/sbin"
    missing = [name for name in programs if not shutil.which(name, path=path)]
    if missing and os.environ.get("CI"):
        pytest.fail(f"missing: {missing} (tests/install_servers.sh installs them on Debian)")
    if missing:
        pytest.skip(f"missing: {missing} (tests/install_servers.sh installs them on Debian)")


@pytest.fixture(scope="session")
def deployment(django_db_blocker: DjangoDbBlocker) -> Iterator[Deployment]:
    require(*_PROGRAMS)
    with django_db_blocker.unblock():
        parameters = connections["default"].get_connection_params()
    wanted = {"host", "port", "user", "password"}
    server = {key: value for key, value in parameters.items() if key in wanted}
    with psycopg.connect(**server, dbname="postgres", autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {_DATABASE} WITH (FORCE)")
        connection.execute(f"CREATE DATABASE {_DATABASE}")
    root = Path(settings.DATA_DIR) / "deploy"
    with Deployment(server, _DATABASE, root) as running:
        yield running


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Shows the processes' logs with a failed test."""
    report = yield
    running = getattr(item, "funcargs", {}).get("deployment")
    if report.failed and isinstance(running, Deployment):
        report.sections.append(("logs", running.log_tail()))
    return report


@pytest.fixture
async def rest(deployment: Deployment) -> AsyncIterator[RestClient]:
    """A user over REST, through nginx."""
    client = RestClient(deployment.base_url, deployment.keys[0], deployment.trust)
    async with client as rest:
        yield rest
