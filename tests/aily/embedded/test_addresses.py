"""Where the embedded servers listen."""

from __future__ import annotations

from pathlib import Path

import environ
import pytest
import redis

from aily.embedded import database_url, redis_url, with_redis_database
from aily.embedded.addresses import postgres_socket_dir, runtime_dir, valkey_socket

SOCKET_PATH_MAX_BYTES = 107


@pytest.mark.parametrize("directory", ["/srv/aily/var", "/" + "deep/" * 40 + "var", "/a b/c%,ü?"])
def test_sockets_fit_the_kernels_limit_for_any_data_directory(directory: str) -> None:
    data_dir = Path(directory)

    for path in (postgres_socket_dir(data_dir) / ".s.PGSQL.5432", valkey_socket(data_dir)):
        assert len(bytes(path)) <= SOCKET_PATH_MAX_BYTES


def test_two_deep_data_directories_share_no_sockets() -> None:
    deep = Path("/" + "deep/" * 40)

    assert runtime_dir(deep / "one") != runtime_dir(deep / "two")


@pytest.mark.parametrize("directory", ["/srv/aily/var", "/a b/c%,ü?&"])
def test_settings_read_the_same_addresses_that_the_servers_use(directory: str) -> None:
    data_dir = Path(directory)

    database = environ.Env.db_url_config(database_url(data_dir))
    client = redis.Redis.from_url(redis_url(data_dir, 3))

    assert database["NAME"] == "aily"
    assert database["OPTIONS"]["host"] == str(postgres_socket_dir(data_dir))
    assert client.get_connection_kwargs() == {"path": str(valkey_socket(data_dir)), "db": 3}


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("redis://cache.example:6380/0", {"host": "cache.example", "port": 6380}),
        ("rediss://:p%40ss@cache.example/4?db=5", {"host": "cache.example", "password": "p@ss"}),
        ("unix:///run/valkey.sock?db=1", {"path": "/run/valkey.sock"}),
    ],
)
def test_another_redis_database_is_on_the_same_server(url: str, kept: dict[str, object]) -> None:
    client = redis.Redis.from_url(with_redis_database(url, 7))

    assert client.get_connection_kwargs() == {**kept, "db": 7}


def test_another_redis_database_behind_the_same_sentinels() -> None:
    url = "redis+sentinel://me:p%40ss@one,[::1]:5000/master/1?db=2&sentinel_password=x"

    assert (
        with_redis_database(url, 7)
        == "redis+sentinel://me:p%40ss@one,[::1]:5000/master/1?sentinel_password=x&db=7"
    )
