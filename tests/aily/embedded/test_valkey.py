"""The embedded Valkey: private, and kept over a restart."""

from __future__ import annotations

import stat
from pathlib import Path

import redis

from aily.embedded import redis_url
from aily.embedded.addresses import runtime_dir, valkey_socket
from aily.embedded.valkey import EmbeddedValkey
from tests.aily.embedded.running import running


def test_valkey_listens_on_a_private_socket_only(tmp_path: Path) -> None:
    service = EmbeddedValkey(tmp_path)

    with (
        running(service, tmp_path / "log"),
        redis.Redis.from_url(redis_url(tmp_path, 0), decode_responses=True) as client,
    ):
        assert client.config_get("port") == {"port": "0"}
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        assert stat.S_IMODE(runtime_dir(tmp_path).stat().st_mode) == 0o700
        assert stat.S_IMODE(valkey_socket(tmp_path).stat().st_mode) == 0o700


def test_valkey_keeps_its_data_over_a_restart(tmp_path: Path) -> None:
    service = EmbeddedValkey(tmp_path)
    with (
        running(service, tmp_path / "log"),
        redis.Redis.from_url(redis_url(tmp_path, 0), decode_responses=True) as client,
    ):
        client.set("name", "value")

    with (
        running(service, tmp_path / "log"),
        redis.Redis.from_url(redis_url(tmp_path, 0), decode_responses=True) as client,
    ):
        assert client.get("name") == "value"
