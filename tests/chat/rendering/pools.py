"""Rendering processes of this process, and prompts to give them."""

from __future__ import annotations

from concurrent.futures import Future

import psutil

from chat.rendering.limits import Limits
from chat.rendering.pool import RenderingPool
from chat.rendering.prompt import PromptSource
from chat.rendering.protocol import Reply

ENDLESS = PromptSource(
    "",
    "{% set a = namespace(v=(1, 1)) %}{% for i in range(60) %}{% set a.v = (a.v, a.v) %}"
    "{% endfor %}{{ a.v }}",
    {"type": "object"},
)


QUICK = PromptSource("", "{% for i in range(2) %}{{ x }}{% endfor %}", {"type": "object"})


ALICE = 1


BOB = 2


def limits(cpu_seconds: float = 0.2) -> Limits:
    return Limits(262_144, 524_288, 20_000, 32, cpu_seconds, 268_435_456)


def children() -> set[int]:
    """Of this process, those that render and have not ended."""
    return {child.pid for child in psutil.Process().children() if is_rendering(child)}


def is_rendering(child: psutil.Process) -> bool:
    try:
        return any("chat.rendering.child" in argument for argument in child.cmdline())
    except psutil.Error:
        return False


def quick(pool: RenderingPool, owner_id: int = BOB) -> Future[Reply]:
    return pool.submit(owner_id, QUICK, {"x": "y"}, limits())
