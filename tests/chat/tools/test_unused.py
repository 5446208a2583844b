"""Who uses no tools pays nothing for them: no process loads the `mcp` package at its start."""

from __future__ import annotations

import subprocess
import sys

import pytest

from aily.launcher.programs import BASE_DIR

_CODE = """
import os, sys
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "aily.settings")
import importlib
importlib.import_module(sys.argv[1])
heavy = {"mcp", "mcp_types", "httpx2"}
print(sorted(heavy & {name.partition(".")[0] for name in sys.modules}))
"""


@pytest.mark.parametrize("entry", ["aily.worker", "aily.asgi"])
def test_the_package_is_not_loaded_at_the_start(entry: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _CODE, entry],
        cwd=BASE_DIR,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"
