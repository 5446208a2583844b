"""supervisord: its configuration for aily's processes, and a client for its control socket."""

from __future__ import annotations

import http.client
import os
import shlex
import subprocess
import sys
import time
import xmlrpc.client
from configparser import RawConfigParser
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict, cast

import psutil
from supervisor.xmlrpc import SupervisorTransport

from aily.embedded.addresses import log_dir, runtime_dir
from aily.process.lifetimes import end_processes, tied_to_parent

_LOG_MAX_BYTES = 10_000_000
_LOG_BACKUPS = 4

#: A program that dies earlier than this counts as failing to start, and is tried again after 1, 2,
#: 3... seconds; one that dies later is started again at once.
_START_SECONDS = 5
_START_RETRIES = 60


@dataclass(frozen=True)
class Program:
    """A command that supervisord keeps running, as one process or as several alike."""

    name: str
    command: list[str]
    #: Programs stop from the highest to the lowest, each after the one before it has ended.
    priority: int
    stop_signal: str = "TERM"
    stop_wait_seconds: int = 10
    processes: int = 1
    #: As many `make run` can be scaled to while it runs (scaling.py).
    max_processes: int = 1
    #: Exit codes after which it is not started again.
    final_exit_codes: tuple[int, ...] = ()
    working_dir: Path | None = None
    #: Started with supervisord, not later by `Supervisor.start_programs`.
    autostart: bool = False
    #: Started last, because no request needs it and every start competes for the processors.
    deferred: bool = False
    #: `HOST:PORT` of a listening socket that all its processes inherit as file descriptor 0.
    shared_socket: str = ""

    def settings(self, logs: Path) -> dict[str, str]:
        """The options of its section, as supervisor's configuration file spells them."""
        options = {
            "command": shlex.join(self.command),
            "numprocs": str(max(self.processes, self.max_processes)),
            "priority": str(self.priority),
            "autostart": str(self.autostart).lower(),
            "autorestart": "unexpected" if self.final_exit_codes else "true",
            "startsecs": str(_START_SECONDS),
            "startretries": str(_START_RETRIES),
            "stopsignal": self.stop_signal,
            "stopwaitsecs": str(self.stop_wait_seconds),
            # The stop signal goes to the program alone (Dramatiq passes it on, and would treat a
            # second one as an order to drop everything), the kill to its whole group.
            "stopasgroup": "false",
            "killasgroup": "true",
            "redirect_stderr": "true",
            "stdout_logfile_maxbytes": str(_LOG_MAX_BYTES),
            "stdout_logfile_backups": str(_LOG_BACKUPS),
        }
        if self.final_exit_codes:
            options["exitcodes"] = ",".join(map(str, self.final_exit_codes))
        if self.working_dir is not None:
            options["directory"] = str(self.working_dir)
        if self.shared_socket:
            options["socket"] = f"tcp://{self.shared_socket}"
            options["socket_backlog"] = "4096"
        return {key: _literal(value) for key, value in options.items()} | {
            "process_name": "%(program_name)s-%(process_num)d",
            # supervisor expands this option twice.
            "stdout_logfile": f"{_literal(_literal(str(logs / self.name)))}-%(process_num)d.log",
        }


class _ProcessInfo(TypedDict):
    """The part of supervisor's getAllProcessInfo that is used."""

    name: str
    statename: str
    pid: int
    stdout_logfile: str


@dataclass(frozen=True)
class ProcessState:
    """One supervised process; `state` is supervisor's name for it (RUNNING, BACKOFF, FATAL...)."""

    name: str
    state: str
    pid: int
    log_file: Path


class Supervisor:
    """A supervisord of this process: it and its programs end with it, even when it is killed."""

    def __init__(self, data_dir: Path, programs: list[Program]) -> None:
        self._runtime_dir = runtime_dir(data_dir)
        self._log_dir = log_dir(data_dir)
        self._programs = programs
        self._socket = control_socket(self._runtime_dir)
        self._process: subprocess.Popen[bytes] | None = None
        self._descendants: dict[int, psutil.Process] = {}
        transport = SupervisorTransport(None, None, f"unix://{self._socket}")
        self._rpc = xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport)
        self.output_file = self._log_dir / "supervisord.out"

    def start(self) -> None:
        """Start supervisord and its programs with autostart.

        In a session of its own, so that Ctrl-C in a terminal reaches the launcher alone, which
        then stops everything in order.
        """
        configuration = self._runtime_dir / "supervisord.conf"
        with configuration.open("w") as file:
            self._configuration().write(file)
        self._socket.unlink(missing_ok=True)
        command = [sys.executable, "-m", "supervisor.supervisord", "-c", str(configuration)]
        with self.output_file.open("wb") as output:
            self._process = subprocess.Popen(
                tied_to_parent(command),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _configuration(self) -> RawConfigParser:
        daemon = {
            "nodaemon": "true",
            "silent": "true",
            "logfile": str(self._log_dir / "supervisord.log"),
            "logfile_maxbytes": str(_LOG_MAX_BYTES),
            "logfile_backups": str(_LOG_BACKUPS),
            "pidfile": str(pid_file(self._runtime_dir)),
            "childlogdir": str(self._log_dir),
        }
        if os.geteuid() == 0:
            daemon["user"] = "root"
        parser = RawConfigParser()
        parser["supervisord"] = {key: _literal(value) for key, value in daemon.items()}
        parser["unix_http_server"] = {"file": _literal(str(self._socket)), "chmod": "0700"}
        parser["rpcinterface:supervisor"] = {
            "supervisor.rpcinterface_factory": "supervisor.rpcinterface:make_main_rpcinterface"
        }
        for program in self._programs:
            kind = "fcgi-program" if program.shared_socket else "program"
            parser[f"{kind}:{program.name}"] = program.settings(self._log_dir)
        return parser

    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start_programs(self, *, deferred: bool) -> None:
        """Start the programs without autostart that are deferred, or those that are not.

        Returns without waiting for them.
        """
        for program in self._programs:
            if not program.autostart and program.deferred == deferred:
                for number in range(program.processes):
                    self._rpc.supervisor.startProcess(process_name(program.name, number), False)

    def states(self) -> list[ProcessState]:
        """The supervised processes; none while supervisord does not answer."""
        try:
            processes = cast("list[_ProcessInfo]", self._rpc.supervisor.getAllProcessInfo())
        except (OSError, http.client.HTTPException, xmlrpc.client.Error):
            self._rpc("close")()
            return []
        states = [
            ProcessState(info["name"], info["statename"], info["pid"], Path(info["stdout_logfile"]))
            for info in processes
        ]
        for pid in {state.pid for state in states} - {0, *self._descendants}:
            self._remember(pid)
        return states

    def _remember(self, pid: int) -> None:
        try:
            self._descendants[pid] = psutil.Process(pid)
        except psutil.NoSuchProcess:
            pass

    def stop(self, timeout_seconds: float = 90) -> None:
        """Stop all programs in order, then supervisord. Nothing is left when this returns."""
        if self._process is None:
            return
        self.states()
        self._process.terminate()
        deadline = time.monotonic() + timeout_seconds
        while self.running() and time.monotonic() < deadline:
            # The call wakes supervisord, which otherwise checks once a second.
            self.states()
            time.sleep(0.05)
        self._process.kill()
        self._process.wait()
        end_processes(self._descendants.values(), grace_seconds=20)


def process_name(program: str, number: int) -> str:
    """supervisord's name of one process of a program, with its group."""
    return f"{program}:{program}-{number}"


def control_socket(directory: Path) -> Path:
    """supervisord's control socket in a runtime directory."""
    return directory / "supervisor.sock"


def pid_file(directory: Path) -> Path:
    """supervisord's pid file in a runtime directory."""
    return directory / "supervisord.pid"


def _literal(value: str) -> str:
    """The value, safe from supervisor's expansion of `%(name)s`."""
    return value.replace("%", "%%")
