"""A Valkey whose disk is full refuses writes, answers reads, and takes writes again by itself."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import redis

from aily.database.outages import as_problem, is_away
from aily.embedded.addresses import redis_url
from aily.embedded.service import wait_until_ready
from aily.embedded.valkey import EmbeddedValkey
from aily.redis.errors import RedisDiskError
from tests.full_disk import fill, make_room, small_disk
from tests.waiting import wait_until


def refusal_of(client: redis.Redis) -> RedisDiskError | None:
    try:
        client.set("key", "x" * 1000)
    except RedisDiskError as error:
        return error
    return None


def test_a_full_disk_is_a_problem_of_its_own_and_ends_with_it(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 4 << 20) as disk:
        server = EmbeddedValkey(disk)
        server.prepare()
        with (
            subprocess.Popen(server.command(), stdout=subprocess.DEVNULL) as process,
            redis.Redis.from_url(redis_url(disk, 0)) as client,
        ):
            try:
                wait_until_ready(server, disk / "no.log")
                client.set("kept", "value")
                fill(disk)
                refusal = wait_until(lambda: refusal_of(client), "a refused write")
                assert refusal is not None

                assert is_away(refusal)
                assert as_problem(refusal).code == "storage_full"
                assert client.get("kept") == b"value"
                with pytest.raises(RedisDiskError):
                    client.eval("return redis.call('SET', KEYS[1], 1)", 1, "by script")

                make_room(disk)
                wait_until(lambda: refusal_of(client) is None, "a write that is taken again")
            finally:
                process.kill()
