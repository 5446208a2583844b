"""The simulator starts with nothing else running, and stops on SIGTERM."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from urllib.request import urlopen

import pytest
from django.core.management import CommandError, call_command

from chat.management.commands import simulate_llm

ROOT = Path(__file__).resolve().parents[3]
BY_DJANGO, BY_ITSELF = ["manage.py", "simulate_llm"], ["-m", "aily.simulator"]


def _start(*command: str) -> subprocess.Popen[str]:
    # Neither address answers, so that a start that touched one of them would fail.
    nothing = {
        "DATABASE_URL": "postgres://nobody@127.0.0.1:1/none",
        "REDIS_URL": "redis://127.0.0.1:1/0",
    }
    return subprocess.Popen(
        [sys.executable, *command],
        cwd=ROOT,
        env={**os.environ, **nothing},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize(
    ("command", "stop"), [(BY_DJANGO, signal.SIGTERM), (BY_ITSELF, signal.SIGINT)]
)
def test_it_announces_its_address_and_stops_at_a_signal(
    command: list[str], stop: signal.Signals
) -> None:
    with _start(*command, "--port", "0", "--latency", "0:0.1", "--seed", "3") as process:
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            url = line.split()[-1]
            with urlopen(f"{url}/stats", timeout=10) as response:  # noqa: S310 our own server
                assert response.status == 200
            process.send_signal(stop)
            assert process.wait(10) == 0
        finally:
            process.kill()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--error-rate", "2"], "error_rate"),
        (["--latency", "soon"], "--latency"),
        (["--latency", "3:1"], "latency_seconds"),
        (["--port", "65536"], "port"),
    ],
)
def test_a_bad_option_is_named(
    options: list[str], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # This process goes on to run other tests: it keeps its garbage collector as it is.
    monkeypatch.setattr(simulate_llm, "end_loading", lambda: None)
    with pytest.raises(CommandError, match=words):
        call_command("simulate_llm", *options)


@pytest.mark.parametrize("command", [BY_DJANGO, BY_ITSELF])
def test_a_port_that_is_taken_is_a_clear_error(command: list[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with _start(*command, "--port", port) as process:
            _, errors = process.communicate(timeout=60)
    assert process.returncode != 0
    assert f"cannot listen on 127.0.0.1:{port}" in errors
    assert "Traceback" not in errors


def test_the_help_lists_the_directives(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        call_command("simulate_llm", "--help")
    text = capsys.readouterr().out
    assert "--tokens-per-second" in text
    assert "retry_after=1" in text
