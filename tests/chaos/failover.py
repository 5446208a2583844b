"""`make chaos`, third part: the master of a Redis behind Sentinels is killed under load.

Its replica takes over. Exits with 1 when a task was lost, doubled or left behind, or when service
did not return by itself in time.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from aily.embedded import database_url
from aily.launcher.programs import BASE_DIR
from tests.chaos.cuts import own_postgres
from tests.chaos.rows import judge, seconds_to_service
from tests.chaos.users import PatientUser, not_ended, users_of
from tests.sentinels import SentinelServers
from tests.stack import Stack

#: From the death of the master to the end of a task that was submitted after it.
BACK_SECONDS = 30.0
SETTLE_SECONDS = 60.0


USERS, TASKS = 5, 60
#: Over which the load is spread; the master dies after a third of them.
SUBMIT_SECONDS = 24.0


def main() -> None:
    root = BASE_DIR / "var" / "chaos"
    root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="failover-", dir=root) as directory:
        problems = _fail_over(Path(directory))
    for problem in problems:
        print(problem)
    print("failover: nothing lost, nothing doubled" if not problems else "failover: see above")
    sys.exit(bool(problems))


def _fail_over(data_dir: Path) -> list[str]:
    with own_postgres(data_dir), SentinelServers(data_dir) as servers:
        environment = {"REDIS_URL": servers.url}
        rows_url = database_url(data_dir)
        with Stack(rows_url, data_dir, worker_processes=2, environment=environment) as stack:
            seeded = stack.manage("-m", "tests.load.seed", str(USERS), stack.simulator_url, "50")
            prompts = [f"Failover {n} [sim:latency=0.3,tokens=20,tps=20]" for n in range(TASKS)]
            users = users_of(stack, seeded.stdout.split(), prompts)
            problems = asyncio.run(_under_load(servers, rows_url, users))
            return [*problems, stack.log_tail()] if problems else []


async def _under_load(
    servers: SentinelServers, rows_url: str, users: Sequence[PatientUser]
) -> list[str]:
    running = [asyncio.create_task(user.run(SUBMIT_SECONDS)) for user in users]
    await asyncio.sleep(SUBMIT_SECONDS / 3)
    servers.kill_master()
    problems = []
    back = await seconds_to_service(rows_url, BACK_SECONDS)
    print(f"  a new task ended {back:.1f} s after the master was killed", flush=True)
    if back > BACK_SECONDS:
        problems.append(f"no service within {BACK_SECONDS:.0f} s")
    problems += await not_ended(running, SUBMIT_SECONDS + SETTLE_SECONDS)
    if servers.named_port() != servers.replica_port:
        problems.append("the replica was not promoted")
    return problems + judge(rows_url, users)


if __name__ == "__main__":
    main()
