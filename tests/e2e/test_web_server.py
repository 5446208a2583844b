"""uvicorn in front of the same installation: a process like those that `WEB_SERVER=uvicorn` starts.

With WEB_SERVER=uvicorn in its environment this whole directory runs against it.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import psutil
import pytest

from aily.launcher import readiness
from aily.programs import BASE_DIR, ConfigurationError, Options
from tests.client import chat_socket
from tests.e2e.conftest import Keys
from tests.e2e.test_sockets import ANSWER
from tests.ports import free_ports
from tests.stack import Stack


@dataclass
class Uvicorn:
    base_url: str
    process: subprocess.Popen[bytes]


@pytest.fixture
def uvicorn(stack: Stack) -> Iterator[Uvicorn]:
    options = replace(Options.from_environment(stack.environment), web_server="uvicorn")
    program = options.programs()[-1]
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listening:
        port = listening.getsockname()[1]
        with subprocess.Popen(
            program.command, cwd=BASE_DIR, env=stack.environment, stdin=listening.fileno()
        ) as process:
            # The connection waits in the backlog until the process takes it.
            while readiness("127.0.0.1", port):
                assert process.poll() is None
            yield Uvicorn(f"http://127.0.0.1:{port}", process)
            process.terminate()


async def test_uvicorn_streams_refuses_large_frames_and_says_when_it_stops(
    uvicorn: Uvicorn, keys: Keys
) -> None:
    async with (
        chat_socket(uvicorn.base_url, keys.alice) as watching,
        chat_socket(uvicorn.base_url, keys.alice) as socket,
    ):
        task_id = await socket.submit(f"Behind uvicorn {ANSWER}")
        frames = await socket.ended(task_id)
        frames.check_ids()
        assert "task.delta" in frames.types
        await socket.connection.send('{"type":"ping","ref":"' + "x" * 300_000 + '"}')
        assert await socket.closed() == 1009
        os.kill(uvicorn.process.pid, signal.SIGTERM)
        assert await watching.closed() == 1012
    # uvicorn ends in order, and then as the signal would have ended it.
    assert uvicorn.process.wait(10) == -signal.SIGTERM


def test_deployments_start_uvicorn_by_the_same_setting(stack: Stack) -> None:
    [port] = free_ports(1)
    environment = {"WEB_SERVER": "uvicorn", "HOST": "127.0.0.1", "PORT": str(port)}
    command = [str(BASE_DIR / "deploy" / "start.sh"), "web"]
    with subprocess.Popen(command, env={**stack.environment, **environment}) as process:
        while readiness("127.0.0.1", port):
            assert process.poll() is None
            time.sleep(0.05)
        assert "aily.web_server" in psutil.Process(process.pid).cmdline()
        process.terminate()
        assert process.wait(10) == -signal.SIGTERM


def test_an_unknown_web_server_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="WEB_SERVER must be one of daphne, uvicorn"):
        Options.from_environment({"WEB_SERVER": "gunicorn"})
