"""`make run`: brings an installation up on one machine, watches over it, and takes it down tidily.

Everything that lives on is started by supervisord; this process only puts the steps in order.
"""

from __future__ import annotations

import fcntl
import http.client
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic

from aily.embedded.addresses import log_dir, metrics_dir, runtime_dir
from aily.embedded.postgres import EmbeddedPostgres
from aily.embedded.service import (
    EmbeddedServiceError,
    make_private,
    process_of,
    wait_until_ready,
)
from aily.launcher.programs import BASE_DIR, ConfigurationError, Options
from aily.launcher.progress import Progress
from aily.launcher.supervision import ProcessState, Supervisor, pid_file
from aily.process.lifetimes import die_with_parent, end_processes, tied_to_parent

#: How long the web processes may take to answer /readyz.
_READY_SECONDS = 90
#: A killed PostgreSQL may have to wait for its last children before it can start again.
_SERVICE_RETRY_SECONDS = 10
#: A hard limit below it is said to be low: it holds fewer calls than WORKER_MAX_CALLS' default.
_FEW_FILES = 6_000
#: Seconds between two looks at the supervised processes while all is well.
_WATCH_SECONDS = 2


class StartupError(Exception):
    """A step failed; the message is for the terminal, the log says more."""

    def __init__(self, message: str, log_file: Path | None = None) -> None:
        super().__init__(message)
        self.log_file = log_file


class StopRequested(Exception):  # noqa: N818 (nothing went wrong)
    """Someone asked for the end by a signal."""


class StopRequest:
    """SIGINT, SIGTERM and SIGHUP, noted when they come and acted on where it is safe."""

    def __init__(self) -> None:
        self._requested = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda *_: self._requested.set())

    def wait(self, seconds: float) -> None:
        """Sleep. Raises StopRequested as soon as a signal has come."""
        if self._requested.wait(seconds):
            raise StopRequested

    def check(self) -> None:
        self.wait(0)


class Launcher:
    """One start, life and stop of an installation."""

    def __init__(self, options: Options, stop: StopRequest, progress: Progress) -> None:
        self._options = options
        self._stop = stop
        self._progress = progress
        self._supervisor = Supervisor(options.data_dir, options.programs())
        self._complained: set[tuple[str, str]] = set()

    def run(self) -> None:
        """Run until a signal comes (StopRequested) or supervisord dies (StartupError)."""
        try:
            self._start()
            while True:
                self._stop.wait(_WATCH_SECONDS)
                self._watch()
        finally:
            with self._progress.step("stopped"):
                self._supervisor.stop()

    def _start(self) -> None:
        self._start_services()
        with self._progress.step("migrations, demo content, assets"):
            self._prepare_application()
        with self._progress.step("web, worker"):
            self._supervisor.start_programs(deferred=False)
            self._wait_until_ready()
        self._supervisor.start_programs(deferred=True)
        self._announce()

    def _start_services(self) -> None:
        names = [service.name for service in self._options.services]
        with self._progress.step(", ".join(["supervisord", *names])):
            for service in self._options.services:
                service.prepare()
                self._stop.check()
            self._supervisor.start()
            self._wait_until(lambda: "" if self._supervisor.states() else "no answer", 20)
            for service in self._options.services:
                log_file = log_dir(self._options.data_dir) / f"{service.name}-0.log"
                check = self._failure_check(_SERVICE_RETRY_SECONDS)
                wait_until_ready(service, log_file, check=check)
                if isinstance(service, EmbeddedPostgres):
                    service.create_database()

    def _prepare_application(self) -> None:
        log_file = log_dir(self._options.data_dir) / "prepare.log"
        locked = [] if self._options.loopback_only else ["--locked"]
        with log_file.open("wb") as output:
            process = subprocess.Popen(
                tied_to_parent([sys.executable, "-m", "aily.launcher.prepare", *locked]),
                cwd=BASE_DIR,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        try:
            while process.poll() is None:
                self._stop.wait(0.02)
        finally:
            process.terminate()
            process.wait()
        if process.returncode != 0:
            raise StartupError("preparing the database failed", log_file)

    def _wait_until_ready(self) -> None:
        log_file = log_dir(self._options.data_dir) / "web-0.log"
        check = self._failure_check(0)

        def question() -> str:
            check()
            return readiness(self._options.browser_host, self._options.port)

        self._wait_until(question, _READY_SECONDS, log_file)

    def _wait_until(
        self, question: Callable[[], str], timeout_seconds: float, log_file: Path | None = None
    ) -> None:
        """Ask until the answer is "" (the reason why not yet, otherwise)."""
        deadline = monotonic() + timeout_seconds
        while reason := question():
            self._stop.wait(0.05)
            if not self._supervisor.running():
                raise StartupError("supervisord ended", self._supervisor.output_file)
            if monotonic() > deadline:
                raise StartupError(f"not ready after {timeout_seconds:.0f} s: {reason}", log_file)

    def _failure_check(self, patience_seconds: float) -> Callable[[], None]:
        """A function that raises when a signal came, or a process fails to start for that long."""
        patient_until = monotonic() + patience_seconds

        def check() -> None:
            self._stop.check()
            failing = [state for state in self._supervisor.states() if _is_failing(state)]
            if failing and monotonic() > patient_until:
                raise StartupError(f"{failing[0].name} does not start", failing[0].log_file)

        return check

    def _announce(self) -> None:
        options = self._options
        self._progress.say(f"ready http://{options.browser_host}:{options.port}")
        if options.loopback_only:
            self._progress.say("  login: demo / demo, staff: admin / admin")
        else:
            self._progress.complain(
                f"  {options.host} is reachable from elsewhere: demo and admin cannot log in "
                "before you give them a password (manage.py changepassword admin)"
            )
        if options.simulator_port is not None:
            self._progress.say("  answers are simulated; set DEEPSEEK_API_KEY for real ones")
        if options.metrics_port:
            metrics = f"http://{options.metrics_host}:{options.metrics_port}/metrics"
            self._progress.say(f"  metrics: {metrics}")
        self._progress.say(f"  logs: {log_dir(options.data_dir)}; Ctrl-C stops")

    def _watch(self) -> None:
        if not self._supervisor.running():
            raise StartupError("supervisord ended unexpectedly", self._supervisor.output_file)
        failing = {(s.name, s.state): s for s in self._supervisor.states() if _is_failing(s)}
        for key in failing.keys() - self._complained:
            state = failing[key]
            verdict = "given up" if state.state == "FATAL" else "fails, being tried again"
            self._progress.complain(f"{state.name}: {verdict}; see {state.log_file}")
        self._complained = set(failing)


def _is_failing(state: ProcessState) -> bool:
    return state.state in {"BACKOFF", "FATAL"}


def readiness(host: str, port: int) -> str:
    """Why the web processes are not ready, or ""."""
    connection = http.client.HTTPConnection(host, port, timeout=5)
    try:
        connection.request("GET", "/readyz")
        response = connection.getresponse()
        body = response.read(500).decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        return f"/readyz: {error}"
    finally:
        connection.close()
    return "" if response.status == http.HTTPStatus.OK else f"/readyz: {response.status} {body}"


@contextmanager
def sole_launcher(options: Options) -> Iterator[bool]:
    """Hold the data directory for this launcher; yields whether it was free.

    The kernel drops the lock with the process, so a killed launcher never blocks the next one.
    """
    options.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (options.data_dir / "launcher.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def check_ports(options: Options) -> None:
    """Raises StartupError naming the first port that is taken and the variable to change."""
    wanted = [("PORT", options.host, options.port)]
    if options.simulator_port is not None:
        wanted.append(("SIMULATOR_PORT", "127.0.0.1", options.simulator_port))
    if options.metrics_port:
        wanted.append(("METRICS_PORT", options.metrics_host, options.metrics_port))
    for variable, host, port in wanted:
        with socket.socket() as candidate:
            candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                candidate.bind((host, port))
                candidate.listen()
            except OSError as error:
                raise StartupError(_port_complaint(variable, host, port, error)) from error


def _port_complaint(variable: str, host: str, port: int, error: OSError) -> str:
    if isinstance(error, socket.gaierror):
        variable = "METRICS_HOST" if variable == "METRICS_PORT" else "HOST"
        return f"{variable}={host} is not an IPv4 address or name"
    if error.errno == 98:
        return f"port {port} is already in use; choose another with {variable}=…"
    return f"cannot listen on {host}:{port}: {error.strerror}; choose another with {variable}=…"


def end_previous_run(options: Options, progress: Progress) -> None:
    """Wait for what a killed launcher left behind, which the kernel has told to end.

    Only called while we hold the data directory, so whatever still runs in it has no launcher.
    """
    candidates = [(pid_file(runtime_dir(options.data_dir)), "supervisord")]
    candidates += [(service.pid_file, service.name) for service in options.services]
    left = [process for path, name in candidates if (process := process_of(path, name))]
    if left:
        with progress.step("end of the previous run"):
            end_processes(left, grace_seconds=60)


def raise_open_file_limit(progress: Progress) -> None:
    """A socket and a provider call are a file each, and the usual limit is 1,024.

    What the hard limit does not allow is said: past it, sockets and calls are refused.
    """
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard != resource.RLIM_INFINITY and hard < _FEW_FILES:
        progress.complain(
            f"only {hard} open files a process (ulimit -n); each socket and each call is one"
        )


def launch(stop: StopRequest, progress: Progress) -> None:
    """Check that nothing stands in the way, then run."""
    options = Options.from_environment(os.environ)
    os.environ.update(options.child_environment())
    with sole_launcher(options) as free:
        if free:
            end_previous_run(options, progress)
        check_ports(options)
        if not free:
            raise StartupError(f"aily already runs from {options.data_dir}")
        make_private(runtime_dir(options.data_dir))
        make_private(log_dir(options.data_dir))
        # Numbers of another run; prometheus_client wants them gone.
        shutil.rmtree(metrics_dir(options.data_dir), ignore_errors=True)
        raise_open_file_limit(progress)
        Launcher(options, stop, progress).run()


def main() -> int:
    """Exit code: 0 after a signal, 1 when something failed."""
    progress = Progress()
    if "MAKELEVEL" in os.environ:
        # Whoever kills `make run` outright means all of it.
        die_with_parent(signal.SIGTERM)
    try:
        launch(StopRequest(), progress)
    except StopRequested:
        return 0
    except (StartupError, ConfigurationError, EmbeddedServiceError) as error:
        progress.complain(f"aily: {error}")
        if isinstance(error, StartupError) and error.log_file is not None:
            progress.show_log(error.log_file)
    return 1


if __name__ == "__main__":
    sys.exit(main())
