"""The short version of `make chaos`: a few harms, and the whole proof."""

from __future__ import annotations

from pathlib import Path

from tests.chaos.run import Plan, unleash


def test_nothing_is_lost_or_doubled_whatever_dies(tmp_path: Path) -> None:
    plan = Plan(seconds=6, users=4, tasks=5, every_seconds=1.5, seed=11)
    assert unleash(plan, tmp_path) == []
