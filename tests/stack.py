"""aily's real processes on free ports, for tests that go in by the front door and kill things."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import psutil

from aily.embedded import redis_url
from aily.embedded.addresses import metrics_dir
from aily.embedded.service import make_private, wait_until_ready
from aily.embedded.valkey import EmbeddedValkey
from aily.environment.launcher import WEB_SERVERS
from aily.launcher.programs import BASE_DIR, Options
from aily.launcher.readiness import readiness
from aily.launcher.supervision import Program
from tests.ports import free_ports
from tests.prepared import copy_assets
from tests.running import Running
from tests.starting import start_process
from tests.waiting import wait_until

_READY_SECONDS = 180
#: What ends by design, and relies on being started again: the scheduler does where its lock is
#: lost, with Redis or on a machine that has let it wait for too long. That any other program ends
#: by itself is a fault, which is not to be hidden.
_STARTED_AGAIN = frozenset({"scheduler"})
_SUPERVISION_SECONDS = 0.5
#: What these programs log once they do their work; of web processes /readyz says it.
_READY_WORDS = {"worker": " is ready", "scheduler": "Starting scheduler"}
#: All in one process: most of the time of each step is Python's start.
_PREPARE = "from aily.launcher.prepare import prepare\nprepare(demo=True)\n"


@dataclass
class StackProcess:
    """One running process of a program, the leader of its own process group."""

    program: Program
    environment: dict[str, str]
    log_file: Path
    shared_socket: socket.socket | None
    popen: subprocess.Popen[bytes] = field(init=False)
    #: Started, and neither stopped nor killed since.
    _is_wanted: bool = field(init=False, default=False)
    #: Of starts: a test and the supervisor may be about to start it at once.
    _lock: threading.Lock = field(init=False, default_factory=threading.Lock)
    #: Where in the log the process that was started last begins.
    _log_start: int = field(init=False, default=0)

    def start(self) -> None:
        with self._lock:
            self._spawn()
            self._is_wanted = True

    def start_if_ended(self) -> None:
        """Start it again where it has ended by itself."""
        with self._lock:
            if self._is_wanted and self.popen.poll() is not None:
                self._spawn()

    def _spawn(self) -> None:
        with self.log_file.open("ab") as output:
            self._log_start = output.tell()
            self.popen = start_process(
                self.program.command,
                cwd=self.program.working_dir,
                env=self.environment,
                stdin=self.shared_socket.fileno() if self.shared_socket else subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                process_group=0,
            )

    def stop(self) -> None:
        """End it as supervisord would: the polite signal, the time to obey, the kill."""
        self._leave_ended()
        if self.popen.poll() is None:
            self.popen.send_signal(signal.Signals[f"SIG{self.program.stop_signal}"])
        try:
            self.popen.wait(self.program.stop_wait_seconds)
        except subprocess.TimeoutExpired:
            self.kill_group()

    def kill_group(self) -> None:
        self._leave_ended()
        try:
            os.killpg(self.popen.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.popen.wait()

    def _leave_ended(self) -> None:
        with self._lock:
            self._is_wanted = False

    def is_at_work(self) -> bool:
        """Whether it has got as far as its work, as its log says; or is not to run."""
        words = _READY_WORDS.get(self.program.name)
        if words is None or not self._is_wanted:
            return True
        with self.log_file.open("rb") as log:
            log.seek(self._log_start)
            return words.encode() in log.read()


class Stack(Running):
    """Web processes, workers, scheduler, simulator and a Valkey of their own.

    The commands are those of `make run`; the database is the caller's. `with Stack(...)` starts
    everything, or `only` these programs, and leaves nothing behind. `script` is run as by
    `manage.py shell` once the demo content is there; the words that it prints last are `made`.
    """

    def __init__(
        self,
        database_url: str,
        data_dir: Path,
        *,
        web_processes: int = 2,
        worker_processes: int = 1,
        simulator_arguments: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        only: Collection[str] = (),
        script: str = "",
    ) -> None:
        self._web_socket = socket.create_server(("127.0.0.1", 0), backlog=4096)
        self.port: int = self._web_socket.getsockname()[1]
        self.simulator_port, metrics_port = free_ports(2)
        self.base_url = f"http://127.0.0.1:{self.port}"
        self.simulator_url = f"http://127.0.0.1:{self.simulator_port}"
        self.data_dir = data_dir
        self.metrics_url = f"http://127.0.0.1:{metrics_port}/metrics"
        self._valkey = EmbeddedValkey(data_dir, durable=False)
        self._options = Options(
            data_dir=data_dir,
            host="127.0.0.1",
            port=self.port,
            simulator_port=self.simulator_port,
            web_processes=web_processes,
            worker_processes=worker_processes,
            worker_grace_seconds=5,
            web_grace_seconds=2,
            websocket_frame_max_bytes=262_144,
            services=(self._valkey,),
            metrics_port=metrics_port,
            # The end-to-end tests pass with any of them.
            web_server=os.environ.get("WEB_SERVER") or WEB_SERVERS[0],
        )
        self.environment = {
            **os.environ,
            **self._options.child_environment(),
            "DJANGO_SETTINGS_MODULE": "tests.stack_settings",
            "DATABASE_URL": database_url,
            "REDIS_URL": redis_url(data_dir, 0),
            "WORKER_GRACE_SECONDS": "5",
            "WEB_GRACE_SECONDS": "2",
            **(environment or {}),
        }
        self.environment.pop("DEEPSEEK_API_KEY", None)
        self._simulator_arguments = simulator_arguments
        self._only = only
        self._script = script
        self.made: list[str] = []
        self.processes: dict[str, StackProcess] = {}
        self._is_over = threading.Event()
        self._supervisor = threading.Thread(target=self._supervise, daemon=True)

    def start(self) -> None:
        make_private(self.data_dir / "log")
        shutil.rmtree(metrics_dir(self.data_dir), ignore_errors=True)
        copy_assets(self.data_dir)
        self._valkey.prepare()
        for program in self._options.programs():
            if self._only and program.name not in self._only:
                continue
            if program.name == "simulator":
                program = replace(program, command=[*program.command, *self._simulator_arguments])
            for number in range(program.processes):
                self._add(program, f"{program.name}-{number}")
        self.processes["valkey-0"].start()
        wait_until_ready(self._valkey, self.processes["valkey-0"].log_file)
        self._prepare_database()
        for name, process in self.processes.items():
            if name != "valkey-0":
                process.start()
        self._supervisor.start()
        self.wait_until_ready()

    def _supervise(self) -> None:
        supervised = [
            process for process in self.processes.values() if process.program.name in _STARTED_AGAIN
        ]
        while not self._is_over.wait(_SUPERVISION_SECONDS):
            for process in supervised:
                process.start_if_ended()

    def _add(self, program: Program, name: str) -> None:
        log_file = self.data_dir / "log" / f"{name}.log"
        log_file.write_bytes(b"")
        self.processes[name] = StackProcess(
            program,
            {**self.environment, "SUPERVISOR_PROCESS_NAME": name},
            log_file,
            self._web_socket if program.shared_socket else None,
        )

    def _prepare_database(self) -> None:
        """Migrate, seed, run the script. Raises AssertionError with the output."""
        script = _PREPARE + self._script
        result = self.manage("manage.py", "shell", "--verbosity", "0", "--command", script)
        assert result.returncode == 0, result.stdout
        self.made = result.stdout.splitlines()[-1].split()

    def manage(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run Python with these arguments in the stack's environment, e.g. a manage.py command."""
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=BASE_DIR,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=120,
        )

    def wait_until_ready(self) -> None:
        """Return once /readyz says yes. Raises TimeoutError with the last lines of the logs."""
        try:
            wait_until(lambda: not readiness("127.0.0.1", self.port), "readiness", _READY_SECONDS)
        except TimeoutError:
            reason = readiness("127.0.0.1", self.port)
            raise TimeoutError(f"{reason}\n{self.log_tail()}") from None

    def wait_until_whole(self) -> None:
        """Return once all processes that were started are at work, after a kill. On a busy machine
        a start takes a minute and more. Raises TimeoutError."""
        for name, process in self.processes.items():
            wait_until(process.is_at_work, f"{name} at work", _READY_SECONDS)
        self.wait_until_ready()

    def pids(self, name: str) -> list[int]:
        """The process `web-0`, `worker-0`, `simulator-0`... and all it started, itself first."""
        process = psutil.Process(self.processes[name].popen.pid)
        return [process.pid, *(child.pid for child in process.children(recursive=True))]

    def memory(self, *names: str) -> dict[str, int]:
        """Resident bytes of each of their processes, by name and pid."""
        return {
            f"{name} {pid}": int(psutil.Process(pid).memory_info().rss)
            for name in names
            for pid in self.pids(name)
        }

    def growth(self, before: Mapping[str, int], *names: str) -> dict[str, int]:
        """What those have grown by that `memory` has seen; others may have begun meanwhile."""
        now = self.memory(*names)
        return {process: now[process] - size for process, size in before.items() if process in now}

    def kill(self, name: str) -> None:
        """kill -9 of the process and all it started."""
        self.processes[name].kill_group()

    def restart(self, name: str) -> None:
        """Start the process again, after stopping it if it still runs."""
        process = self.processes[name]
        process.stop()
        process.start()

    def log_files(self) -> dict[str, Path]:
        return {name: process.log_file for name, process in self.processes.items()}

    def stop(self) -> None:
        """Stop everything in the reverse order of starting."""
        self._is_over.set()
        for process in reversed(self.processes.values()):
            if hasattr(process, "popen"):
                process.stop()
        self._web_socket.close()
