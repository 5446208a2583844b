"""`make chaos`, second part: the network to Redis, then to PostgreSQL, is gone for 30 s under load.

Packets vanish and no connection breaks. Exits with 1 when a task was lost, doubled or left behind,
or when service did not return by itself in time.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from aily.embedded import database_url
from aily.embedded.addresses import log_dir, postgres_socket_dir, valkey_socket
from aily.embedded.postgres import EmbeddedPostgres
from aily.embedded.service import make_private, wait_until_ready
from aily.launcher.programs import BASE_DIR
from tests.chaos.rows import judge, seconds_to_service
from tests.chaos.users import not_ended, users_of
from tests.proxy import Proxy
from tests.stack import Stack

CUT_SECONDS = 30.0
#: From the healing of the network to the first end of a task that was submitted after it.
BACK_SECONDS = {"Redis": 30.0, "PostgreSQL": 120.0}
USERS, TASKS = 5, 120
#: Calm before each cut, and after the last one.
CALM_SECONDS = 10.0
SETTLE_SECONDS = 120.0


def main() -> None:
    root = BASE_DIR / "var" / "chaos"
    root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="cuts-", dir=root) as directory:
        problems = asyncio.run(_run(Path(directory)))
    for problem in problems:
        print(problem)
    print("cuts: nothing lost, nothing doubled" if not problems else f"{len(problems)} problems")
    sys.exit(bool(problems))


async def _run(data_dir: Path) -> list[str]:
    with (
        own_postgres(data_dir) as postgres_socket,
        Proxy(postgres_socket) as postgres,
        Proxy(valkey_socket(data_dir)) as valkey,
    ):
        environment = {"REDIS_URL": f"redis://127.0.0.1:{valkey.port}/0"}
        url = f"postgres://aily@127.0.0.1:{postgres.port}/aily"
        stack = Stack(url, data_dir, worker_processes=2, environment=environment)
        with stack:
            seeded = stack.manage("-m", "tests.load.seed", str(USERS), stack.simulator_url, "50")
            keys = seeded.stdout.split()
            return await _under_load(stack, keys, {"Redis": valkey, "PostgreSQL": postgres})


@contextmanager
def own_postgres(data_dir: Path) -> Iterator[Path]:
    """A server of its own. Yields its socket."""
    server = EmbeddedPostgres(data_dir, durable=False)
    make_private(log_dir(data_dir))
    server.prepare()
    log_file = log_dir(data_dir) / "postgres.log"
    with log_file.open("wb") as output:
        process = subprocess.Popen(
            server.command(), cwd=server.working_dir, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        wait_until_ready(server, log_file)
        server.create_database()
        yield postgres_socket_dir(data_dir) / ".s.PGSQL.5432"
    finally:
        process.send_signal(server.stop_signal)
        process.wait(30)


async def _under_load(stack: Stack, keys: list[str], proxies: dict[str, Proxy]) -> list[str]:
    prompts = [f"Cut {number} [sim:latency=0.5,tokens=20,tps=20]" for number in range(TASKS)]
    users = users_of(stack, keys, prompts)
    submit_seconds = len(proxies) * (CALM_SECONDS + CUT_SECONDS + 40)
    running = [asyncio.create_task(user.run(submit_seconds)) for user in users]
    rows_url = database_url(stack.data_dir)
    problems: list[str] = []
    for server, proxy in list(proxies.items()):
        await asyncio.sleep(CALM_SECONDS)
        print(f"  {server}: packets vanish for {CUT_SECONDS:.0f} s", flush=True)
        proxy.cut()
        await asyncio.sleep(CUT_SECONDS)
        proxy.heal()
        back = await seconds_to_service(rows_url, BACK_SECONDS[server])
        print(f"  {server}: a new task ended {back:.1f} s after the network was back", flush=True)
        if back > BACK_SECONDS[server]:
            problems.append(f"{server}: no service within {BACK_SECONDS[server]:.0f} s")
    problems += await not_ended(running, submit_seconds + SETTLE_SECONDS)
    return problems + judge(rows_url, users)


if __name__ == "__main__":
    main()
