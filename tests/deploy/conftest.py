"""The deployment that tests of deploy/ share."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from django.conf import settings

from tests.client import RestClient
from tests.databases import make_database
from tests.deploy.deployment import Deployment
from tests.installed import missing_programs
from tests.prepared import MIGRATED

_DATABASE = "aily_deploy"
_PROGRAMS = ("nginx", "pgbouncer", "prometheus", "promtool", "envsubst", "openssl")


def require(*programs: str) -> None:
    """Skip the test where one of these is missing; fail it where nothing may be skipped."""
    missing = missing_programs(*programs)
    if missing and os.environ.get("CI"):
        pytest.fail(f"missing: {missing} (tests/install_servers.sh installs them on Debian)")
    if missing:
        pytest.skip(f"missing: {missing} (tests/install_servers.sh installs them on Debian)")


@pytest.fixture(scope="module")
def deployment(database_server: dict[str, str]) -> Iterator[Deployment]:
    """It ends with its tests: answering Prometheus every three seconds keeps half a core busy."""
    require(*_PROGRAMS)
    make_database(database_server, _DATABASE, MIGRATED)
    root = Path(settings.DATA_DIR) / "deploy"
    with Deployment(database_server, _DATABASE, root) as running:
        yield running


@pytest.fixture
async def rest(deployment: Deployment) -> AsyncIterator[RestClient]:
    """A user over REST, through nginx."""
    client = RestClient(deployment.base_url, deployment.keys[0], deployment.trust)
    async with client as rest:
        yield rest
