"""A web server of any kind in front of the installation that the end-to-end tests share."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import psutil
import pytest

from aily.environment.launcher import WEB_SERVERS
from aily.launcher.programs import BASE_DIR, Options
from aily.launcher.readiness import readiness
from tests.stack import Stack
from tests.waiting import wait_until

#: As parameters of a test: the default, and slow the others, which test_web_server.py is about.
EACH_WEB_SERVER = [
    WEB_SERVERS[0],
    *(pytest.param(name, marks=pytest.mark.slow) for name in WEB_SERVERS[1:]),
]


@dataclass
class WebServer:
    name: str
    port: int
    process: subprocess.Popen[bytes]

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def connected(self) -> int:
        """How many clients it has."""
        connections = psutil.Process(self.process.pid).net_connections("tcp4")
        return sum(
            connection.status == psutil.CONN_ESTABLISHED and connection.laddr.port == self.port
            for connection in connections
        )

    def wait_for_leavers(self, connected: int, seconds: float) -> None:
        wait_until(lambda: self.connected() <= connected, "those that leave", seconds)

    def memory_bytes(self) -> int:
        return int(psutil.Process(self.process.pid).memory_info().rss)


@contextmanager
def running_web_server(stack: Stack, name: str) -> Iterator[WebServer]:
    options = replace(Options.from_environment(stack.environment), web_server=name)
    program = options.programs()[-1]
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listening:
        port = listening.getsockname()[1]
        with subprocess.Popen(
            program.command, cwd=BASE_DIR, env=stack.environment, stdin=listening.fileno()
        ) as process:
            # The connection waits in the backlog until the process takes it.
            wait_until_ready(port, process)
            yield WebServer(name, port, process)
            process.terminate()


def wait_until_ready(port: int, process: subprocess.Popen[bytes]) -> None:
    def is_ready() -> bool:
        assert process.poll() is None
        return not readiness("127.0.0.1", port)

    wait_until(is_ready, "the web server", 60)
