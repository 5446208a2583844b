"""A disk of a booted machine that fills up, with all on it that aily and its servers write."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from tests import full_disk
from tests.client import Answer, RestClient
from tests.deploy.machine import Machine
from tests.waiting import eventually, wait_until

_DISK = "/mnt/disk"
#: Where aily, PostgreSQL, Redis and nginx write; PostgreSQL's log alone may take some dozen MB.
_MOVED = "/var/lib/aily /var/lib/postgresql /var/lib/redis /var/lib/nginx /var/log"
#: `postgresql` alone returns before its cluster has stopped.
_STOPPED = "postgresql@* postgresql redis-server nginx"
_SERVERS = "postgresql redis-server nginx"
_MOVE = f"""
systemctl stop {_STOPPED}
install -d {_DISK}
mount -t tmpfs -o size=512m,mode=0755 tmpfs {_DISK}
for directory in {_MOVED}; do
    cp -a --parents $directory {_DISK}
    mount --bind {_DISK}$directory $directory
done
systemctl restart systemd-journald
systemctl start {_SERVERS}
# As one with much to do: it saves at every change, and tries again after a failure.
redis-cli config set save '1 1'
"""
#: Log records without a change of any row, until PostgreSQL has no room for them.
_WRITE_AHEAD = """
for i in $(seq 1000); do
    echo "SELECT pg_logical_emit_message(false, 'test', repeat('x', 1048576));"
    echo "SELECT pg_switch_wal();"
done | (cd / && runuser -u postgres -- psql --quiet --output=/dev/null --set=ON_ERROR_STOP=1 2>&1) \
    || true
"""
#: What PostgreSQL's log may then still take is less than it wants.
_HALF = "200M"
_BODY = {"messages": [{"role": "user", "content": "ping [sim:latency=0,tokens=5,tps=0]"}]}
_REFUSALS = 20
_IN_TURN = 6
_PATIENCE_SECONDS = 90


class FullDisk:
    """The small disk of a machine. `site` opens a client of its aily."""

    def __init__(self, machine: Machine, site: Callable[[], RestClient]) -> None:
        self._machine = machine
        self._site = site

    def move_data(self) -> None:
        """Put on it what is written. To be called while aily is stopped."""
        self._machine.run(_MOVE)

    @property
    def _path(self) -> Path:
        return self._machine.path(_DISK)

    def fill(self) -> None:
        full_disk.fill(self._path)

    def half_fill(self) -> None:
        self._machine.run(f"fallocate --length {_HALF} {_DISK}/{full_disk.FILLER}")

    def make_room(self) -> None:
        full_disk.make_room(self._path)

    def fail_redis_snapshot(self) -> None:
        """Wait until Redis could not save its data: from then on it refuses writes."""

        def has_failed() -> bool:
            # PostgreSQL may have given some room back.
            self.fill()
            said = self._machine.run("redis-cli info persistence")
            return "rdb_last_bgsave_status:err" in said

        wait_until(has_failed, "a snapshot that fails", _PATIENCE_SECONDS)

    def break_postgresql(self) -> list[str]:
        """Have PostgreSQL write more of its log than there is room for. A line if it could."""
        said = self._machine.run(_WRITE_AHEAD)
        return [] if "connection to server was lost" in said else [f"PostgreSQL: {said[-500:]}"]

    def refusals(self, task_id: str) -> list[str]:
        """What is wrong with the answers, while it is full: submits and reads."""

        async def ask(site: RestClient) -> list[str]:
            await self._until_submits_are(503, site)
            found = []
            for _ in range(_REFUSALS):
                refused = await self._submit(site)
                task = await site.get(f"/api/llmchat/tasks/{task_id}")
                if refused.status != 503 or refused.body["code"] != "storage_full":
                    found.append(f"a submit: {refused.status} {refused.body}")
                if "Retry-After" not in refused.headers:
                    found.append(f"a submit's headers: {refused.headers}")
                if task.status != 200 or task.body["status"] != "succeeded":
                    found.append(f"a read: {task.status} {task.body}")
            metrics = self._machine.run(
                "curl --silent --fail http://127.0.0.1:9100/metrics | wc -l"
            )
            return found if int(metrics) > 0 else [*found, "there are no metrics"]

        return self._ask(ask)

    def comes_back(self) -> list[str]:
        """Wait until submits are accepted again; a line if they are not."""

        async def ask(site: RestClient) -> list[str]:
            await self._until_submits_are(202, site)
            return []

        return self._ask(ask)

    def _ask(self, questions: Callable[[RestClient], Awaitable[list[str]]]) -> list[str]:
        async def ask() -> list[str]:
            async with self._site() as site:
                try:
                    return await questions(site)
                except TimeoutError as error:
                    return [str(error)]

        return asyncio.run(ask())

    async def _submit(self, site: RestClient) -> Answer:
        return await site.post("/api/llmchat/request?sync=false", _BODY)

    async def _until_submits_are(self, status: int, site: RestClient) -> None:
        async def is_so() -> bool:
            # nginx asks the web processes in turn: each of them finds out by itself.
            answers = [await self._submit(site) for _ in range(_IN_TURN)]
            return all(answer.status == status for answer in answers)

        await eventually(is_so, f"submits that are answered with {status}", _PATIENCE_SECONDS)
