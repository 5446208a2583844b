"""The garbage collector is set by entry points, never by importing a package."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

_REPORT = """
import gc, json, sys
before = gc.get_threshold()
{statements}
print(json.dumps({{
    "changed": gc.get_threshold() != before,
    "frozen": gc.get_freeze_count(),
    "blocked": [name for name, module in sys.modules.items() if module is None],
}}))
"""


def state_after(statements: str) -> dict[str, Any]:
    """What a new process says of its garbage collector after these statements."""
    code = _REPORT.format(statements=statements)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    state: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return state


@pytest.mark.parametrize("module", ["aily", "aily.process.start", "aily.web.servers.daphne"])
def test_an_import_changes_nothing(module: str) -> None:
    state = state_after(f"import {module}")
    assert state == {"changed": False, "frozen": 0, "blocked": []}


def test_loading_collects_seldom_and_what_is_loaded_is_never_looked_at() -> None:
    start = "from aily.process.start import begin_loading, end_loading\n"
    assert state_after(f"{start}begin_loading()")["changed"]
    state = state_after(f"{start}begin_loading(); end_loading()")
    assert state["changed"]
    assert state["frozen"] > 0


def test_a_worker_is_set_up() -> None:
    """As Dramatiq starts it: by an import of its entry point."""
    assert state_after("import aily.worker")["frozen"] > 100_000
