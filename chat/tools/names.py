"""Names of functions: what models call tools by, unique over all servers."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from itertools import count

MAX_CHARS = 64
_OTHERS = re.compile(r"[^A-Za-z0-9_-]")


def function_name(server: str, tool: str, taken: Collection[str]) -> str:
    """A name that no other tool has: the tool's own, or else behind its server's."""
    plain = _OTHERS.sub("_", tool)[:MAX_CHARS] or "tool"
    if plain not in taken:
        return plain
    prefixed = f"{server}_{plain}"[:MAX_CHARS]
    if prefixed not in taken:
        return prefixed
    return next(name for name in _numbered(prefixed) if name not in taken)


def _numbered(name: str) -> Iterator[str]:
    for number in count(2):
        suffix = f"_{number}"
        yield name[: MAX_CHARS - len(suffix)] + suffix
