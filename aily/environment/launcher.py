"""The variables that say which processes run, and where they listen.

`make run` and deploy/start.sh use them; every other process checks them.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from aily.environment.reader import Environment

#: The first is the default.
WEB_SERVERS = ("daphne", "uvicorn")
_MAX_PORT = 65_535
_MAX_PROCESSES = 64


@dataclass(frozen=True, slots=True)
class LauncherVariables:
    host: str
    port: int
    simulator_port: int
    #: Of the demo MCP server. 0: there is none.
    demo_mcp_port: int
    web_processes: int
    worker_processes: int
    web_server: str

    @classmethod
    def read(cls, env: Environment) -> LauncherVariables:
        port = env.integer("PORT", default=8000, minimum=1, maximum=_MAX_PORT)
        return cls(
            host=env.host("HOST", default="127.0.0.1"),
            port=port,
            simulator_port=env.integer(
                "SIMULATOR_PORT", default=min(port + 1, _MAX_PORT), minimum=1, maximum=_MAX_PORT
            ),
            demo_mcp_port=env.integer(
                "DEMO_MCP_PORT", default=min(port + 10, _MAX_PORT), maximum=_MAX_PORT
            ),
            web_processes=env.integer(
                "WEB_PROCESSES", default=default_web_processes(), minimum=1, maximum=_MAX_PROCESSES
            ),
            worker_processes=env.integer(
                "WORKER_PROCESSES", default=2, minimum=1, maximum=_MAX_PROCESSES
            ),
            web_server=env.choice("WEB_SERVER", WEB_SERVERS, default=WEB_SERVERS[0]),
        )


def default_web_processes() -> int:
    """Half as many as cores: the other half is for workers and servers.

    One more gains little if cores are short: submits that arrive in two processes make batches of
    half the size (figures in docs/performance.md).
    """
    return max((os.cpu_count() or 1) // 2, 1)
