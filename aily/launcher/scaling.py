"""Starts and stops processes of an installation that `make run` has started, while it runs."""

from __future__ import annotations

import http.client
import xmlrpc.client
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from supervisor.xmlrpc import SupervisorTransport

from aily.embedded.addresses import runtime_dir
from aily.launcher.supervision import control_socket

#: supervisor's states of a process that is up or comes up, and of one that can be started.
_UP = frozenset({"STARTING", "RUNNING", "BACKOFF"})
_STARTABLE = frozenset({"STOPPED", "EXITED", "FATAL"})


class ScalingError(Exception):
    """Nothing was changed, or not all of it; the message says why."""


@dataclass(frozen=True, slots=True)
class _Process:
    number: int
    state: str


class Scaler:
    """A client of the supervisord of a running installation."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        socket = control_socket(runtime_dir(data_dir))
        transport = SupervisorTransport(None, None, f"unix://{socket}")
        # xmlrpc.client types what is called as what is transported.
        self._rpc: Any = xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport)

    def scale(self, program: str, wanted: int) -> int:
        """Bring a program (worker, web) to so many processes; returns how many were up before.

        Those with the highest numbers are stopped, politely; returns without waiting for any.
        Raises ScalingError.
        """
        processes = self._processes(program)
        if wanted > len(processes):
            raise ScalingError(f"There can be {len(processes)} {program} processes at most.")
        up = [process.number for process in processes if process.state in _UP]
        startable = [process.number for process in processes if process.state in _STARTABLE]
        if wanted - len(up) > len(startable):
            raise ScalingError(f"Some {program} processes are still stopping: try again.")
        self._call_all(self._rpc.supervisor.stopProcess, program, up[wanted:])
        self._call_all(
            self._rpc.supervisor.startProcess, program, startable[: max(wanted - len(up), 0)]
        )
        return len(up)

    def running(self, program: str) -> int:
        """How many processes of a program have been up for some seconds. Raises ScalingError."""
        return sum(process.state == "RUNNING" for process in self._processes(program))

    def _processes(self, program: str) -> list[_Process]:
        """In the order of their numbers. Raises ScalingError."""
        try:
            found = self._rpc.supervisor.getAllProcessInfo()
        except (OSError, http.client.HTTPException, xmlrpc.client.Error) as error:
            raise ScalingError(f"make run does not run from {self._data_dir}.") from error
        finally:
            self._rpc("close")()
        processes = [
            _Process(int(info["name"].rpartition("-")[2]), info["statename"])
            for info in found
            if info["group"] == program
        ]
        return sorted(processes, key=lambda process: process.number)

    def _call_all(self, call: Any, program: str, numbers: Iterable[int]) -> None:
        for number in numbers:
            try:
                call(f"{program}:{program}-{number}", False)
            except xmlrpc.client.Fault as fault:
                # Another one was quicker: it is in the intended state already.
                if fault.faultString.partition(":")[0] not in ("ALREADY_STARTED", "NOT_RUNNING"):
                    message = f"{program}-{number}: {fault.faultString}"
                    raise ScalingError(message) from fault
            finally:
                self._rpc("close")()
