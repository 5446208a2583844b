"""The README's WebSocket client, run as it stands there."""

from __future__ import annotations

import os
import re
import subprocess
import sys

from aily.launcher.programs import BASE_DIR
from tests.e2e.conftest import Keys
from tests.stack import Stack


def _client() -> str:
    found: list[str] = re.findall(
        r"```python\n(.*?)```", (BASE_DIR / "README.md").read_text(), re.DOTALL
    )
    assert len(found) == 1
    return found[0]


def _run(stack: Stack, key: str) -> subprocess.CompletedProcess[str]:
    url = stack.base_url.replace("http", "ws") + "/ws/llmchat/"
    return subprocess.run(
        [sys.executable, "-c", _client()],
        env={**os.environ, "AILY_URL": url, "AILY_KEY": key},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_example_prints_the_answer_of_a_task(stack: Stack) -> None:
    key = stack.manage("manage.py", "create_api_key", "demo").stdout.split()[-1]
    result = _run(stack, key)
    assert result.returncode == 0, result.stderr
    assert "This is a *simulated* answer" in result.stdout


def test_the_example_ends_where_coming_again_would_change_nothing(stack: Stack, keys: Keys) -> None:
    result = _run(stack, keys.revoked)
    assert result.returncode == 1
    assert "4401" in result.stderr
