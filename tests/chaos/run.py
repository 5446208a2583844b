"""`make chaos`: load, harm, and then the proof.

Options: --seconds (of harm), --users, --tasks (of each user), --seed, --every (seconds from being
back to the next harm), --harms (words of the names of those that may happen), --json FILE. Exits
with 1 when anything was lost, doubled or wrong, or not back in time.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import re
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from aily.launcher.programs import BASE_DIR
from tests.chaos import report
from tests.chaos.harms import HARMS, Harm
from tests.chaos.proof import Evidence, problems
from tests.chaos.site import Site
from tests.chaos.strikes import Prober, Strike, strike_for
from tests.chaos.users import PatientUser
from tests.load.installation import Installation, Upstream

CHAOS_DIR = BASE_DIR / "var" / "chaos"
#: After the last harm everything must have ended within this: leases run out, PostgreSQL recovers,
#: and what waited meanwhile has its turn under the cap.
SETTLE_SECONDS = 150.0
#: What workers say of the late ends and events of a life that was declared dead.
_BOUNCED = {
    "ends": re.compile(r"its end came too late"),
    "events": re.compile(r"its events came too late"),
    "lives": re.compile(r"was declared dead: dropping its calls"),
}


@dataclass(frozen=True)
class Plan:
    """How much load and how much harm. The cap is often reached, so that leases matter."""

    seconds: float = 220
    users: int = 20
    tasks: int = 40
    every_seconds: float = 3
    seed: int = 1
    cap: int = 24
    answer_seconds: float = 4
    lease_seconds: int = 8
    harms: tuple[Harm, ...] = HARMS

    def upstream(self) -> Upstream:
        first_token_seconds = self.answer_seconds / 4
        return Upstream(self.answer_seconds, first_token_seconds, 60, 30, is_journaled=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    usual = Plan()
    parser.add_argument("--seconds", type=float, default=usual.seconds)
    parser.add_argument("--users", type=int, default=usual.users)
    parser.add_argument("--tasks", type=int, default=usual.tasks)
    parser.add_argument("--every", type=float, default=usual.every_seconds)
    parser.add_argument("--seed", type=int, default=usual.seed)
    parser.add_argument("--harms", default="")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    harms = tuple(harm for harm in HARMS if asked.harms in harm.name)
    plan = Plan(asked.seconds, asked.users, asked.tasks, asked.every, asked.seed, harms=harms)
    document = unleash(plan, CHAOS_DIR)
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    path = asked.json or CHAOS_DIR / f"chaos-{plan.seed}-{stamp}.json"
    report.save(document, path)
    report.show(Console(highlight=False, soft_wrap=True), document)
    print(f"written to {path}")
    sys.exit(bool(document["problems"]))


def unleash(plan: Plan, root: Path, *, is_first_start: bool = True) -> dict[str, Any]:
    """Run the plan against an installation of its own. Returns its document (report.py)."""
    environment = {"WORKER_LEASE_SECONDS": str(plan.lease_seconds), "WORKER_GRACE_SECONDS": "3"}
    with Installation(
        root, plan.upstream(), environment, is_first_start=is_first_start
    ) as installation:
        *keys, prober_key = installation.seed(plan.users + 1, plan.cap)
        # Workers read the models anew with each renewal.
        time.sleep(plan.lease_seconds / 4 + 1)
        users = [
            PatientUser(installation.socket_url, key, _prompts(number, plan.tasks), number)
            for number, key in enumerate(keys)
        ]
        site = Site(installation, plan.seed)
        prober = Prober(installation.base_url, prober_key)
        strikes, found = asyncio.run(_run(plan, users, site, prober))
        evidence = _evidence(plan, users, site, prober)
        found += [*problems(evidence), *_not_back(strikes)]
        if found:
            print(installation.log_tail())
        options = {
            field.name: getattr(plan, field.name)
            for field in dataclasses.fields(plan)
            if field.name != "harms"
        }
        return report.build(options, strikes, users, evidence, _bounced(installation), found)


def _prompts(user: int, tasks: int) -> list[str]:
    return [f"Chaos {user}/{number}" for number in range(tasks)]


async def _run(
    plan: Plan, users: Sequence[PatientUser], site: Site, prober: Prober
) -> tuple[list[Strike], list[str]]:
    found: list[str] = []
    running = [asyncio.create_task(user.run(plan.seconds)) for user in users]
    strikes = await strike_for(plan.seconds, plan.every_seconds, site, plan.harms, prober)
    try:
        async with asyncio.timeout(SETTLE_SECONDS):
            await asyncio.gather(*running)
    except TimeoutError:
        found.append(f"not all had ended {SETTLE_SECONDS:.0f} s after the last harm")
    return strikes, found


def _evidence(plan: Plan, users: Sequence[PatientUser], site: Site, prober: Prober) -> Evidence:
    return Evidence(
        clients=[task for user in users for task in user.tasks],
        probes=prober.task_ids,
        stored=site.installation.stored_tasks(),
        upstream=site.installation.upstream_calls(),
        cap=plan.cap,
        answer_tokens=plan.upstream().tokens,
        zombie_calls=frozenset(site.zombie_calls),
        frozen=site.frozen,
    )


def _not_back(strikes: Sequence[Strike]) -> list[str]:
    return [
        f"not back {strike.bound_seconds:.0f} s after: {' + '.join(strike.harms)}"
        for strike in strikes
        if strike.back_seconds is None
    ]


def _bounced(installation: Installation) -> dict[str, int]:
    """How often a worker found that what it had to say came too late."""
    logs = [file.read_text(errors="replace") for file in installation.worker_logs()]
    return {
        name: sum(len(pattern.findall(log)) for log in logs) for name, pattern in _BOUNCED.items()
    }


if __name__ == "__main__":
    main()
