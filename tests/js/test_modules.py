"""Runs the tests of the web app's pure modules, where there is Node to run them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
NODE = shutil.which("node")


@pytest.mark.skipif(NODE is None, reason="node is not installed")
@pytest.mark.parametrize("module", sorted(HERE.glob("*.test.mjs")), ids=lambda path: path.name)
def test_the_modules_pass_their_own_tests(module: Path) -> None:
    assert NODE is not None
    result = subprocess.run(
        [NODE, "--test", str(module)], capture_output=True, text=True, timeout=60, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
