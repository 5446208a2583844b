"""The README's examples, run as they stand there."""

from __future__ import annotations

import json
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


# --- The commands -------------------------------------------------------------------------------
def _commands(chapter: str) -> list[str]:
    """The chapter's indented commands that begin with curl, with their continuation lines."""
    text = (BASE_DIR / "README.md").read_text().split(f"## {chapter}\n")[1].split("\n## ")[0]
    found: list[str] = re.findall(
        r"^    (curl .*(?:(?<=\\)\n.*|\n           .*)*)", text, re.MULTILINE
    )
    return found


def _sh(stack: Stack, command: str, **variables: str) -> str:
    """Run the command against the stack, as a newcomer pastes it. Returns the status and output."""
    assert "http://127.0.0.1:8000" in command
    command = command.replace("http://127.0.0.1:8000", stack.base_url)
    command = command.replace("curl ", "curl --silent --write-out ' %{http_code}' ", 1)
    result = subprocess.run(
        ["sh", "-c", command],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return result.stdout


def test_the_commands_of_the_five_minutes_do_what_is_said(stack: Stack, keys: Keys) -> None:
    submit, stream = _commands("Five minutes")
    accepted = _sh(stack, submit, AILY_KEY=keys.alice)
    assert accepted.startswith("HTTP/1.1 202 Accepted")
    assert accepted.endswith(" 202")
    assert "ocation: /api/llmchat/tasks/" in accepted
    # The answer that is shown has the fields of the real one.
    readme = (BASE_DIR / "README.md").read_text()
    [shown] = re.findall(r'^    (\{"task_id".*?\})$', readme, re.MULTILINE | re.DOTALL)
    assert set(json.loads(shown)) == set(json.loads(accepted.splitlines()[-1].removesuffix(" 202")))
    waited = _sh(stack, submit.replace("/api \\", "/api?sync=true \\"), AILY_KEY=keys.alice)
    assert waited.endswith(" 200")
    assert '"status": "succeeded"' in waited
    streamed = _sh(stack, stream, AILY_KEY=keys.alice)
    assert streamed.endswith(" 200")
    assert "event: task.delta" in streamed
    assert "event: task.completed" in streamed


def test_a_sync_submit_of_a_task_that_fails_is_answered_with_200(stack: Stack, keys: Keys) -> None:
    submit, _ = _commands("Five minutes")
    submit = submit.replace("/api \\", "/api?sync=true \\")
    refused = submit.replace("A queue", "[sim:status=400] A queue")
    answer = _sh(stack, refused, AILY_KEY=keys.alice)
    assert answer.endswith(" 200")
    assert '"status": "failed"' in answer
    assert answer.endswith('"result": null} 200')


def test_the_commands_that_add_a_provider_add_it_with_a_model(stack: Stack, keys: Keys) -> None:
    provider, model = _commands("Two commands")
    try:
        assert _sh(stack, provider, STAFF_KEY=keys.author).endswith(" 201")
        assert _sh(stack, model, STAFF_KEY=keys.author).endswith(" 201")
    finally:
        for path in ("models/gpt", "providers/azure"):
            delete = (
                f"curl -X DELETE http://127.0.0.1:8000/api/{path} -H 'Authorization: Bearer $KEY'"
            )
            _sh(stack, delete.replace("'", '"'), KEY=keys.author)


def test_only_posts_are_counted(stack: Stack, keys: Keys) -> None:
    for method, body, is_counted in (("GET", "", False), ("POST", "-d '{}'", True)):
        command = (
            f"curl -i -X {method} http://127.0.0.1:8000/api/conversations {body}"
            ' -H "Authorization: Bearer $AILY_KEY" -H "Content-Type: application/json"'
        )
        answer = _sh(stack, command, AILY_KEY=keys.alice).lower()
        assert ("ratelimit:" in answer) == is_counted


def test_a_refusal_is_422_by_the_schema_and_400_by_what_there_is(stack: Stack, keys: Keys) -> None:
    for body, line in (
        ('{"variables": {"text": "a"}, "unknown": 1}', "422 Unprocessable"),
        ('{"variables": {"text": "a"}, "model": "nowhere"}', "400 Bad Request"),
        ('{"variables": ', "400 Bad Request"),
    ):
        command = (
            f"curl -i http://127.0.0.1:8000/api/llmchat/prompts/summarize/api -d '{body}'"
            ' -H "Authorization: Bearer $AILY_KEY" -H "Content-Type: application/json"'
        )
        answer = _sh(stack, command, AILY_KEY=keys.alice)
        assert answer.startswith(f"HTTP/1.1 {line}")
        assert '"code": "invalid_request"' in answer
