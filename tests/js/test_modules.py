"""Runs the tests of the web app's modules that need no browser, under Deno."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings

HERE = Path(__file__).parent
DENO = Path(sys.executable).with_name("deno")


@pytest.mark.parametrize("module", sorted(HERE.glob("*.test.mjs")), ids=lambda path: path.name)
def test_the_modules_pass_their_own_tests(module: Path) -> None:
    options = ["--quiet", "--no-check", "--no-remote", "--allow-read", f"--config={HERE}/deno.json"]
    environment = {**os.environ, "DENO_DIR": f"{settings.BASE_DIR}/var/deno", "NO_COLOR": "1"}
    result = subprocess.run(
        [DENO, "test", *options, module],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**environment, "DENO_NO_UPDATE_CHECK": "1"},
    )
    assert result.returncode == 0, result.stdout + result.stderr
