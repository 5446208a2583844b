"""`make chaos`: load, harm, and then the proof.

Options: --seconds (of harm), --users, --tasks (of each user), --seed, --every (seconds between two
harms). Exits with 1 when anything was lost, doubled or wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from aily.embedded import redis_url
from aily.programs import BASE_DIR
from chat.llm.simulator.answers import simulated_answer
from tests.chaos.killer import Killer
from tests.chaos.users import PatientUser, Seen
from tests.load.installation import MODELS_KNOWN_SECONDS, Installation, StoredTask, Upstream
from tests.load.recording import MODEL

UPSTREAM = Upstream(seconds=4, latency_seconds=1, tokens=60, chunks=30)
#: After the last harm everything must have ended within this: leases run out, PostgreSQL recovers.
SETTLE_SECONDS = 120.0


@dataclass(frozen=True)
class Plan:
    """How much load and how much harm."""

    seconds: float
    users: int
    tasks: int
    every_seconds: float
    seed: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=240)
    parser.add_argument("--users", type=int, default=20)
    parser.add_argument("--tasks", type=int, default=50)
    parser.add_argument("--every", type=float, default=4)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    plan = Plan(options.seconds, options.users, options.tasks, options.every, options.seed)
    problems = unleash(plan, BASE_DIR / "var" / "chaos")
    for problem in problems:
        print(problem)
    print("nothing lost, nothing doubled" if not problems else f"{len(problems)} problems")
    sys.exit(bool(problems))


def unleash(plan: Plan, root: Path) -> list[str]:
    """Run the plan against an installation of its own. Returns a line for everything wrong."""
    environment = {"WORKER_LEASE_SECONDS": "8", "WORKER_GRACE_SECONDS": "3"}
    with Installation(root, UPSTREAM, environment) as installation:
        keys = installation.seed(plan.users, cap=10_000)
        time.sleep(MODELS_KNOWN_SECONDS)
        users = [
            PatientUser(installation.socket_url, key, _prompts(number, plan.tasks), number)
            for number, key in enumerate(keys)
        ]
        killer = Killer(installation.launcher, redis_url(installation.data_dir, 0), plan.seed)
        try:
            asyncio.run(_run(plan, users, killer))
        except TimeoutError:
            print(f"not all ended within {SETTLE_SECONDS:.0f} s of the last harm")
        stored = installation.stored_tasks()
        problems = [line for user in users for line in _judge(user, stored)]
        known = {task.task_id for user in users for task in user.tasks}
        problems += [
            f"{task_id} is stored, but nobody knows it" for task_id in stored.keys() - known
        ]
        _report(users, killer, stored)
        if problems:
            print(installation.log_tail())
    return problems


def _prompts(user: int, tasks: int) -> list[str]:
    return [f"Chaos {user}/{number}" for number in range(tasks)]


async def _run(plan: Plan, users: list[PatientUser], killer: Killer) -> None:
    running = [asyncio.create_task(user.run(plan.seconds)) for user in users]
    end = time.monotonic() + plan.seconds
    while time.monotonic() < end:
        await asyncio.sleep(plan.every_seconds)
        print(f"  {await asyncio.to_thread(killer.strike)}", flush=True)
    async with asyncio.timeout(SETTLE_SECONDS):
        await asyncio.gather(*running)


def _judge(user: PatientUser, stored: dict[str, StoredTask]) -> list[str]:
    return [
        f"{task.key} {task.task_id}: {line}" for task in user.tasks for line in _wrong(task, stored)
    ]


def _wrong(task: Seen, stored: dict[str, StoredTask]) -> list[str]:
    if task.task_id is None:
        return ["never accepted"]
    row = stored.get(task.task_id)
    if row is None:
        return ["accepted, but not stored"]
    found = list(task.problems)
    if row.status != "succeeded":
        found.append(f"ended as {row.status} after {row.attempt} attempts")
    if len(task.ends) != 1:
        found.append(f"its client saw {len(task.ends)} ends")
    elif task.ends[0]["type"] == "task.completed":
        result = task.ends[0]["result"]["text"]
        # A log that was lost ends with the result alone.
        if task.text not in (result, "") and not result.startswith(task.text):
            found.append("the streamed text is not the result")
        if result != row.text:
            found.append("the pushed result is not the stored text")
    if row.text != _expected(task.prompt):
        found.append("the stored text is not what the simulator answered")
    return found


def _expected(prompt: str) -> str:
    body = {
        "model": MODEL,
        "messages": [{"role": "user", "content": prompt}],
        "thinking": {"type": "disabled"},
    }
    return simulated_answer(body, seed=0, answer_tokens=(UPSTREAM.tokens, UPSTREAM.tokens)).text


def _report(users: list[PatientUser], killer: Killer, stored: dict[str, StoredTask]) -> None:
    print(f"harm: {dict(Counter(killer.done))}")
    print(f"tasks: {dict(Counter(row.status for row in stored.values()))}")
    print(f"attempts: {dict(Counter(row.attempt for row in stored.values()))}")
    print(f"reconnects: {sum(user.reconnects for user in users)}")
    print(f"refused and asked again: {sum(user.refused for user in users)}")


if __name__ == "__main__":
    main()
