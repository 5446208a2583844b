"""A web server of any kind in front of the installation that the end-to-end tests share."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import psutil

from aily.launcher.programs import BASE_DIR, Options
from aily.launcher.readiness import readiness
from tests.stack import Stack


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
            one.status == psutil.CONN_ESTABLISHED and one.laddr.port == self.port
            for one in connections
        )

    def wait_for_leavers(self, connected: int, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while self.connected() > connected:
            assert time.monotonic() < deadline
            time.sleep(0.05)

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
            while readiness("127.0.0.1", port):
                assert process.poll() is None
            yield WebServer(name, port, process)
            process.terminate()
