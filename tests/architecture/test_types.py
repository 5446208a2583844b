"""How much of the code has no type: `Any` is counted, imports of it are not."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from aily.launcher.programs import BASE_DIR

PACKAGES = ("aily", "accounts", "chat")
#: The goal is 8.
MAX_PER_1000_LINES = 8


def modules() -> Iterator[Path]:
    for package in PACKAGES:
        for path in sorted((BASE_DIR / package).rglob("*.py")):
            if "migrations" not in path.parts:
                yield path


def count_any(source: str) -> int:
    """Uses of `Any` in code, and in types that `cast` is given as text."""
    nodes = list(ast.walk(ast.parse(source)))
    names = sum(isinstance(node, ast.Name) and node.id == "Any" for node in nodes)
    texts = (
        node.args[0]
        for node in nodes
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "cast"
    )
    return names + sum(
        count_any(text.value)
        for text in texts
        if isinstance(text, ast.Constant) and isinstance(text.value, str)
    )


def test_counting() -> None:
    assert count_any("from typing import Any\nx: dict[str, Any] = cast('list[Any]', Any)") == 3
    assert count_any("x = 'Any'  # Any") == 0


def test_any_is_rare() -> None:
    counts = {path: count_any(path.read_text()) for path in modules()}
    lines = sum(len(path.read_text().splitlines()) for path in counts)
    assert lines > 30_000
    most = sorted(counts, key=lambda path: -counts[path])[:20]
    listing = "\n".join(f"{counts[path]:4} {path.relative_to(BASE_DIR)}" for path in most)
    share = sum(counts.values()) / lines * 1000
    assert share < MAX_PER_1000_LINES, f"{share:.1f} in 1,000 lines; the most are in\n{listing}"
