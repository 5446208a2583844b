"""What is in a log line, and what never is."""

from __future__ import annotations

import io
import json
import logging
import logging.config
from collections.abc import Callable
from typing import Any

import pytest

from aily.observability import context, logs

Log = Callable[..., str]
SECRETS = (
    "aily_" + "k" * 43,
    "sk-0123456789abcdef0123",
    "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    "postgres-password",
)


@pytest.fixture(params=["text", "json"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def log(kind: str) -> Log:
    """Formats one line as a process with that LOG_FORMAT does."""
    configuration = logs.configuration("INFO", kind)
    formatter = logging.config.DictConfigurator(configuration).configure_formatter(
        dict(configuration["formatters"][kind])
    )
    output = io.StringIO()
    handler = logging.StreamHandler(output)
    handler.setFormatter(formatter)
    handler.addFilter(logs.Context())

    def write(message: str, *arguments: object, **options: Any) -> str:
        record = logging.LogRecord("a.logger", 30, __file__, 1, message, arguments, None)
        for name, value in options.items():
            setattr(record, name, value)
        handler.handle(record)
        return output.getvalue()

    return write


def test_a_line_says_what_work_it_is_about(log: Log, kind: str) -> None:
    token = context.request_id.set("r1")
    try:
        line = log("task %d", 7, task_id="t1")
    finally:
        context.request_id.reset(token)
    if kind == "text":
        assert line.endswith("WARNING a.logger task 7 request_id=r1 task_id=t1\n")
        return
    entry = json.loads(line)
    expected = {"message": "task 7", "level": "WARNING", "logger": "a.logger"}
    assert expected.items() <= entry.items()
    assert (entry["request_id"], entry["task_id"]) == ("r1", "t1")
    assert {"time", "process", "pid"} <= entry.keys()
    assert "exception" not in entry


def test_a_traceback_is_part_of_its_line(log: Log, kind: str) -> None:
    error = ValueError("what it was")
    line = log("broken", exc_info=(ValueError, error, None))
    if kind == "json":
        assert line.count("\n") == 1
        assert "ValueError: what it was" in json.loads(line)["exception"]
    else:
        assert "ValueError: what it was" in line


def test_secrets_are_cut_out(log: Log) -> None:
    line = log(
        "Authorization: Bearer %s; %s %s; postgres://aily:%s@db/aily", *SECRETS, task_id="t1"
    )
    assert [secret for secret in SECRETS if secret in line] == []
    assert "[redacted]" in line
    assert "t1" in line


def test_what_postgresql_quotes_is_cut_out(log: Log) -> None:
    quoted = 'null value in column "owner"\nDETAIL:  Failing row contains (my secret prompt).'
    error = ValueError(quoted)
    line = log("refused: %s", error, exc_info=(ValueError, error, None))
    assert "null value in column" in line
    assert "my secret prompt" not in line


@pytest.mark.parametrize(
    ("level", "of_packages"), [("DEBUG", "WARNING"), ("INFO", "WARNING"), ("CRITICAL", "CRITICAL")]
)
def test_packages_log_warnings_unless_even_less_is_asked_for(level: str, of_packages: str) -> None:
    loggers = logs.configuration(level, "text")["loggers"]
    assert loggers["psycopg"] == loggers["httpx"] == {"level": of_packages}
