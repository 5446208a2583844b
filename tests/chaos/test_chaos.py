"""The short version of `make chaos`: a few harms, and the whole proof."""

from __future__ import annotations

from pathlib import Path

from tests.chaos.harms import HARMS
from tests.chaos.run import Plan, unleash

SHORT = ("kill a worker", "kill the simulator", "kill Valkey, back empty", "kill PostgreSQL")


def test_nothing_is_lost_or_doubled_whatever_dies(tmp_path: Path) -> None:
    harms = tuple(harm for harm in HARMS if harm.name in SHORT)
    assert len(harms) == len(SHORT)
    plan = Plan(
        seconds=6,
        users=4,
        tasks=5,
        every_seconds=0.5,
        seed=11,
        cap=6,
        answer_seconds=1,
        lease_seconds=4,
        harms=harms,
    )
    assert unleash(plan, tmp_path, is_first_start=False)["problems"] == []
