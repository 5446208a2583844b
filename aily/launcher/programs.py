"""The processes of an installation on one machine, by the environment."""

from __future__ import annotations

import math
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from aily.embedded.addresses import metrics_dir
from aily.embedded.postgres import EmbeddedPostgres
from aily.embedded.service import EmbeddedService
from aily.embedded.valkey import EmbeddedValkey
from aily.environment import Environment, refuse
from aily.environment.launcher import WEB_SERVERS, LauncherVariables
from aily.launcher.supervision import Program
from aily.process.exit_codes import DRAINED_EXIT_CODE
from aily.process.lifetimes import tied_to_parent

BASE_DIR = Path(__file__).resolve().parent.parent.parent

#: The modules to run for those that have no command line of their own.
WEB_MODULES = {"uvicorn": "aily.web.servers.uvicorn"}

#: Web or worker processes that `manage.py scale` can bring a running installation to. supervisord
#: needs each of them from the start, and lists them all whenever it is queried.
MAX_SCALED_PROCESSES = 16

#: How this machine reaches a process that listens on all addresses.
_LOOPBACK_OF = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 (not listened on by default)


@dataclass(frozen=True)
class Options:
    """Settings of `make run`, read from its environment."""

    data_dir: Path
    host: str
    port: int
    #: None when a real provider's key is set.
    simulator_port: int | None
    web_processes: int
    worker_processes: int
    #: How long a stopping worker lets its calls go on.
    worker_grace_seconds: int
    #: How long a stopping web process lets its requests end.
    web_grace_seconds: int
    #: Largest message a WebSocket client may send.
    websocket_frame_max_bytes: int
    #: The embedded servers that no URL replaces.
    services: tuple[EmbeddedService, ...]
    #: Where the exporter listens. 0: there is none.
    metrics_port: int = 0
    metrics_host: str = "127.0.0.1"
    #: One of WEB_SERVERS.
    web_server: str = WEB_SERVERS[0]
    #: Where the demo MCP server listens. 0: there is none.
    demo_mcp_port: int = 0

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Options:
        """Raises ConfigurationError naming the variable that is wrong."""
        env = Environment(environment)
        data_dir = env.path("AILY_DATA_DIR", default=BASE_DIR / "var")
        given = LauncherVariables.read(env)
        services: list[EmbeddedService] = []
        if not env.text("DATABASE_URL", default=""):
            services.append(EmbeddedPostgres(data_dir))
        if not env.text("REDIS_URL", default=""):
            services.append(EmbeddedValkey(data_dir))
        has_real_provider = bool(env.text("DEEPSEEK_API_KEY", default=""))
        options = cls(
            data_dir=data_dir,
            host=given.host,
            port=given.port,
            simulator_port=None if has_real_provider else given.simulator_port,
            web_processes=given.web_processes,
            worker_processes=given.worker_processes,
            worker_grace_seconds=env.integer(
                "WORKER_GRACE_SECONDS", default=25, minimum=1, maximum=3600
            ),
            web_grace_seconds=math.ceil(env.seconds("WEB_GRACE_SECONDS", default=5, maximum=3600)),
            websocket_frame_max_bytes=env.integer(
                "WEBSOCKET_FRAME_MAX_BYTES", default=262_144, minimum=1, maximum=2**24
            ),
            services=tuple(services),
            metrics_port=env.integer(
                "METRICS_PORT", default=min(given.port + 2, 65_535), maximum=65_535
            ),
            metrics_host=env.host("METRICS_HOST", default="127.0.0.1"),
            web_server=given.web_server,
            demo_mcp_port=0 if has_real_provider else given.demo_mcp_port,
        )
        options._refuse_same_ports()
        return options

    def _refuse_same_ports(self) -> None:
        ports = {"PORT": self.port}
        others = {"SIMULATOR_PORT": self.simulator_port, "METRICS_PORT": self.metrics_port or None}
        for variable, port in others.items():
            if port in ports.values():
                refuse(f"{variable} must be a port of its own, not {port} once more")
            if port is not None:
                ports[variable] = port

    @property
    def browser_host(self) -> str:
        """The address to reach the web processes at from this machine."""
        return _LOOPBACK_OF.get(self.host, self.host)

    @property
    def address(self) -> str:
        """`host:port` as it stands in the URL of this machine's browsers."""
        return address(self.browser_host, self.port)

    @property
    def loopback_only(self) -> bool:
        return self.host in ("localhost", "::1") or self.host.startswith("127.")

    def child_environment(self) -> dict[str, str]:
        """Variables that every process gets besides those that `make run` was given."""
        variables = {
            "AILY_DATA_DIR": str(self.data_dir),
            "DJANGO_SETTINGS_MODULE": "aily.settings",
            "PYTHONUNBUFFERED": "1",
            # Milliseconds after which an idle worker polls for messages again, at the latest. Idle
            # polling costs CPU, and pub/sub wakes workers for new tasks at once.
            "dramatiq_worker_timeout": "500",
        }
        if self.simulator_port is not None:
            variables["SIMULATOR_URL"] = f"http://127.0.0.1:{self.simulator_port}"
        if self.demo_mcp_port:
            variables["DEMO_MCP_URL"] = f"http://127.0.0.1:{self.demo_mcp_port}/mcp"
        # The exporter has the port; it reads the metrics of the others from files.
        variables["METRICS_PORT"] = "0"
        if self.metrics_port:
            variables["PROMETHEUS_MULTIPROC_DIR"] = str(metrics_dir(self.data_dir))
        return variables

    def programs(self) -> list[Program]:
        """The processes to supervise. They stop in the reverse order."""
        programs = [_service_program(service) for service in self.services]
        if self.simulator_port is not None:
            programs.append(_simulator(self.simulator_port))
        if self.demo_mcp_port:
            programs.append(_demo_mcp_server(self.demo_mcp_port))
        programs += [_worker(self), _scheduler(), _web(self)]
        return [*programs, _exporter(self)] if self.metrics_port else programs


def address(host: str, port: int) -> str:
    """`host:port`, with an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _python(*arguments: str) -> list[str]:
    """A Python command that is killed if supervisord dies: the servers end with it, and without
    them there is nothing to stop gracefully for."""
    return tied_to_parent([sys.executable, *arguments], signal.SIGKILL)


def _service_program(service: EmbeddedService) -> Program:
    return Program(
        service.name,
        service.command(),
        priority=10,
        stop_signal=service.stop_signal.name.removeprefix("SIG"),
        stop_wait_seconds=30,
        working_dir=service.working_dir,
        autostart=True,
    )


def _simulator(port: int) -> Program:
    command = _python("-m", "aily.simulator", "--port", str(port))
    return Program("simulator", command, priority=20, working_dir=BASE_DIR)


def _demo_mcp_server(port: int) -> Program:
    command = _python("-m", "aily.demo_mcp_server", "--port", str(port))
    # Deferred: no step waits for it, nor for its port, should another program have that.
    return Program("demo-mcp", command, priority=26, working_dir=BASE_DIR, deferred=True)


def _worker(options: Options) -> Program:
    """One Dramatiq process a unit: its master stops every sibling when one dies.

    Each layer waits longer than the one inside it: the calls' grace time, then Dramatiq's
    threads, then supervisord with its kill.
    """
    grace_seconds = options.worker_grace_seconds
    command = _python(
        *("-m", "dramatiq", "aily.worker", "--processes", "1", "--threads", "2"),
        *("--worker-shutdown-timeout", str((grace_seconds + 10) * 1000)),
    )
    return Program(
        "worker",
        command,
        priority=30,
        stop_wait_seconds=grace_seconds + 15,
        processes=options.worker_processes,
        max_processes=MAX_SCALED_PROCESSES,
        final_exit_codes=(DRAINED_EXIT_CODE,),
        working_dir=BASE_DIR,
    )


def _scheduler() -> Program:
    command = _python("manage.py", "crontab", "--no-heartbeat")
    return Program("scheduler", command, priority=40, working_dir=BASE_DIR, deferred=True)


def _exporter(options: Options) -> Program:
    command = _python(
        *("-m", "aily.exporter", "--host", options.metrics_host),
        *("--port", str(options.metrics_port)),
    )
    # It stops after all but the servers, so that the end of the others is measured.
    return Program("exporter", command, priority=25, working_dir=BASE_DIR, deferred=True)


def _web(options: Options) -> Program:
    """A web server on a socket that supervisord opened: all processes accept from the same queue.

    No access log: it would cost more than the request.
    """
    return Program(
        "web",
        _python(*_web_arguments(options)),
        priority=50,
        stop_wait_seconds=options.web_grace_seconds + 5,
        processes=options.web_processes,
        max_processes=MAX_SCALED_PROCESSES,
        working_dir=BASE_DIR,
        shared_socket=address(options.host, options.port),
    )


def _web_arguments(options: Options) -> tuple[str, ...]:
    if module := WEB_MODULES.get(options.web_server):
        return ("-m", module)
    limit = str(options.websocket_frame_max_bytes)
    return (
        *("-m", "aily.web.servers.daphne", "--fd", "0", "--verbosity", "0", "--no-server-name"),
        *("--websocket-max-message-size", limit, "--websocket-max-frame-size", limit),
        "aily.asgi:application",
    )
