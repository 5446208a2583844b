"""The README's WebSocket client, run as it stands there."""

from __future__ import annotations

import os
import re
import subprocess
import sys

from aily.programs import BASE_DIR
from tests.stack import Stack


def _client() -> str:
    found: list[str] = re.findall(
        r"```python\n(.*?)```", (BASE_DIR / "README.md").read_text(), re.DOTALL
    )
    assert len(found) == 1
    return found[0]


def test_the_example_prints_the_answer_of_a_task(stack: Stack) -> None:
    key = stack.manage("manage.py", "create_api_key", "demo").stdout.split()[-1]
    url = stack.base_url.replace("http", "ws") + "/ws/llmchat/"
    result = subprocess.run(
        [sys.executable, "-c", _client()],
        env={**os.environ, "AILY_URL": url, "AILY_KEY": key},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert "This is a *simulated* answer" in result.stdout
