"""`make hosts`: aily on several hosts, one of which after the other loses its network under load.

Two web hosts, two workers, one host for scheduler and simulator, one for PostgreSQL and Valkey:
each in a network namespace of its own. With `--sentinel` Redis is a master and a replica on hosts
of their own, watched by three Sentinels. Needs root; elsewhere it says that it was skipped. Exits
with 1 when anything was lost, doubled or wrong, or not back in time.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from aily.launcher.programs import BASE_DIR
from tests.chaos.network import Network, in_own_network
from tests.chaos.proof import Evidence, problems
from tests.chaos.site_of_hosts import CAP, HOSTS, REDIS_HOSTS, TOKENS, SiteOfHosts
from tests.chaos.strikes import Prober
from tests.chaos.users import PatientUser, not_ended
from tests.journal import read_journal
from tests.load.installation import stored_tasks

USERS, TASKS = 8, 30
CALM_SECONDS = 3.0
SETTLE_SECONDS = 90.0


@dataclass(frozen=True)
class Cut:
    """`is_felt`: no request is served meanwhile. Leases last 8 s: a longer cut costs a worker its
    calls, a shorter one does not."""

    host: str
    seconds: float
    is_felt: bool = False
    back_seconds: float = 30.0


CUTS = (
    Cut("web-1", 10),
    Cut("worker-1", 4),
    Cut("worker-2", 20),
    # Whoever is served now is served by the worker that was away. By then the other may have
    # all the room, until its lease (8 s) is over and a sweep (5 s) has found that.
    Cut("worker-1", 16),
    Cut("operations", 10, is_felt=True),
    Cut("data", 4, is_felt=True, back_seconds=60),
    Cut("data", 30, is_felt=True, back_seconds=60),
)
SENTINEL_CUTS = (
    Cut("redis-1", 20),
    # Meanwhile it learns that it is a replica now.
    Cut("web-1", 15),
    Cut("redis-2", 20),
    Cut("data", 4, is_felt=True, back_seconds=60),
)


@dataclass(frozen=True)
class Outcome:
    """Seconds until a new task ended, during the cut and from its end on; None: in vain."""

    cut: Cut
    meanwhile: float | None
    back: float | None
    #: A cut that cuts nothing proves nothing.
    was_cut: bool


class RoamingUser(PatientUser):
    """Connects to another web host each time, as behind a load balancer."""

    def __init__(self, urls: Iterator[str], *arguments: Any) -> None:
        super().__init__(next(urls), *arguments, ping_interval=3, ping_timeout=3)
        self._urls = urls

    async def _session(self) -> None:
        self._url = next(self._urls)
        await super()._session()


def main() -> None:
    in_own_network("tests.chaos.hosts", sys.argv[1:])
    parser = argparse.ArgumentParser(description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--sentinel", action="store_true")
    has_sentinels = parser.parse_args().sentinel
    cuts = SENTINEL_CUTS if has_sentinels else CUTS
    hosts = (*HOSTS, *REDIS_HOSTS) if has_sentinels else HOSTS
    root = BASE_DIR / "var" / "chaos"
    root.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix="hosts-", dir=root) as directory,
        Network(hosts) as network,
        SiteOfHosts(network.hosts, Path(directory)) as site,
    ):
        *keys, prober_key = site.seed(USERS + 1)
        outcomes, found = asyncio.run(_run(site, cuts, keys, prober_key))
        if found:
            print(site.log_tail())
    _show(outcomes, found)
    sys.exit(bool(found))


async def _run(
    site: SiteOfHosts, cuts: Sequence[Cut], keys: list[str], prober_key: str
) -> tuple[list[Outcome], list[str]]:
    urls = [f"{url.replace('http', 'ws', 1)}/ws/llmchat/" for url in site.web_urls]
    users = [
        RoamingUser(
            cycle(urls[number % 2 :] + urls[: number % 2]),
            key,
            [f"Hosts {number}/{task}" for task in range(TASKS)],
            number,
        )
        for number, key in enumerate(keys)
    ]
    seconds = sum(cut.seconds + CALM_SECONDS for cut in cuts)
    running = [asyncio.create_task(user.run(seconds)) for user in users]
    prober = Prober(site.web_urls[0], prober_key)
    outcomes, excused = [], []
    for cut in cuts:
        await asyncio.sleep(CALM_SECONDS)
        began = time.time()
        outcomes.append(await _cut(site, cut, prober))
        # The leases of its last moment are unknown to the replica that takes over.
        if cut.host.startswith(("worker", "redis")):
            excused.append((began, time.time()))
    found = _not_served(outcomes)
    found += await not_ended(running, SETTLE_SECONDS)
    return outcomes, found + _proof(site, users, prober, excused)


def _proof(
    site: SiteOfHosts,
    users: list[RoamingUser],
    prober: Prober,
    excused: list[tuple[float, float]],
) -> list[str]:
    stored = stored_tasks(site.rows_url)
    taken_over = sum(row.crashes for row in stored.values())
    reconnects = sum(user.reconnects for user in users)
    print(f"  {reconnects} connections were lost, {taken_over} calls were taken over")
    evidence = Evidence(
        clients=[task for user in users for task in user.tasks],
        probes=prober.task_ids,
        stored=stored,
        upstream=read_journal(site.journal),
        cap=CAP,
        answer_tokens=TOKENS,
        zombie_calls=frozenset(),
        # What a worker had begun goes on at the provider while it is cut off.
        frozen=excused,
    )
    return problems(evidence)


async def _cut(site: SiteOfHosts, cut: Cut, prober: Prober) -> Outcome:
    """Cut, ask at the web host that is not, heal, and ask at the one that was."""
    host = site.hosts[cut.host]
    host.cut()
    healing = asyncio.get_running_loop().time() + cut.seconds
    was_cut = not await asyncio.to_thread(host.reaches, site.hosts["web-2"].address, 8000)
    meanwhile = None
    if not cut.is_felt:
        prober.base_url = site.web_urls[1]
        meanwhile = await _seconds_to_answer(prober, cut.seconds)
    await asyncio.sleep(healing - asyncio.get_running_loop().time())
    host.heal()
    prober.base_url = site.web_urls[0]
    back = await _seconds_to_answer(prober, cut.back_seconds)
    print(f"  {cut.host} was cut off for {cut.seconds:.0f} s", flush=True)
    return Outcome(cut, meanwhile, back, was_cut)


async def _seconds_to_answer(prober: Prober, at_most: float) -> float | None:
    began = time.monotonic()
    return time.monotonic() - began if await prober.until_answered(at_most) else None


def _not_served(outcomes: list[Outcome]) -> list[str]:
    late = [
        f"{outcome.cut.host}: not back {outcome.cut.back_seconds:.0f} s after a cut"
        for outcome in outcomes
        if outcome.back is None
    ]
    late += [
        f"{outcome.cut.host} was not cut off at all" for outcome in outcomes if not outcome.was_cut
    ]
    return late + [
        f"{outcome.cut.host}: no request was served while it was cut off"
        for outcome in outcomes
        if outcome.meanwhile is None and not outcome.cut.is_felt
    ]


def _show(outcomes: list[Outcome], found: list[str]) -> None:
    table = Table("host", "cut off for", "served meanwhile after", "back after", box=None)
    for outcome in outcomes:
        meanwhile = "-" if outcome.cut.is_felt else _seconds(outcome.meanwhile)
        table.add_row(
            outcome.cut.host, _seconds(outcome.cut.seconds), meanwhile, _seconds(outcome.back)
        )
    console = Console(highlight=False, soft_wrap=True)
    console.print(table)
    for line in found:
        console.print(line, markup=False)
    tasks = USERS * TASKS
    console.print(f"{len(found)} problems" if found else f"{tasks} tasks: none lost, none doubled")


def _seconds(seconds: float | None) -> str:
    return "IN VAIN" if seconds is None else f"{seconds:.1f} s"


if __name__ == "__main__":
    main()
