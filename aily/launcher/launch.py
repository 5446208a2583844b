"""Brings an installation up on one machine, watches it, and takes it down in order.

supervisord starts all long-running processes; this process puts the steps in order.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from time import monotonic

from aily.embedded.addresses import log_dir, metrics_dir, runtime_dir
from aily.embedded.postgres import EmbeddedPostgres
from aily.embedded.service import make_private, wait_until_ready
from aily.launcher.errors import StartupError
from aily.launcher.preconditions import (
    check_ports,
    check_settings,
    end_previous_run,
    raise_open_file_limit,
    sole_launcher,
)
from aily.launcher.programs import BASE_DIR, Options, address
from aily.launcher.progress import Progress
from aily.launcher.readiness import readiness
from aily.launcher.stop_request import StopRequest
from aily.launcher.supervision import ProcessState, Supervisor
from aily.process.lifetimes import tied_to_parent

#: How long the web processes may take to answer /readyz.
_READY_SECONDS = 90
#: A killed PostgreSQL may have to wait for its last children before it can start again.
_SERVICE_RETRY_SECONDS = 10
#: Seconds between two checks of the supervised processes while all is well.
_WATCH_SECONDS = 2
#: What supervisord has given up is tried again: a full disk may last for hours.
_TRY_AGAIN_SECONDS = 15


def launch(stop: StopRequest, progress: Progress) -> None:
    """Check the preconditions, then run until a signal comes (StopRequested)."""
    options = Options.from_environment(os.environ)
    os.environ.update(options.child_environment())
    with sole_launcher(options) as free:
        check_settings()
        if free:
            end_previous_run(options, progress)
        check_ports(options)
        if not free:
            raise StartupError(f"aily already runs from {options.data_dir}")
        make_private(runtime_dir(options.data_dir))
        make_private(log_dir(options.data_dir))
        # Left by the previous run; prometheus_client would add their numbers.
        shutil.rmtree(metrics_dir(options.data_dir), ignore_errors=True)
        raise_open_file_limit(progress)
        Launcher(options, stop, progress).run()


class Launcher:
    """Starts, watches and stops an installation."""

    def __init__(self, options: Options, stop: StopRequest, progress: Progress) -> None:
        self._options = options
        self._stop = stop
        self._progress = progress
        self._supervisor = Supervisor(options.data_dir, options.programs())
        self._reported: set[tuple[str, str]] = set()
        self._tried_again_at = monotonic()

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

        def reason_to_wait() -> str:
            check()
            return readiness(self._options.browser_host, self._options.port)

        self._wait_until(reason_to_wait, _READY_SECONDS, log_file)

    def _wait_until(
        self,
        reason_to_wait: Callable[[], str],
        timeout_seconds: float,
        log_file: Path | None = None,
    ) -> None:
        """Wait until `reason_to_wait` returns ""."""
        deadline = monotonic() + timeout_seconds
        while reason := reason_to_wait():
            self._stop.wait(0.05)
            if not self._supervisor.running():
                raise StartupError("supervisord ended", self._supervisor.output_file)
            if monotonic() > deadline:
                raise StartupError(f"not ready after {timeout_seconds:.0f} s: {reason}", log_file)

    def _failure_check(self, grace_seconds: float) -> Callable[[], None]:
        """A function that raises if a signal has come, or a process does not start in that time."""
        grace_until = monotonic() + grace_seconds

        def check() -> None:
            self._stop.check()
            failing = [state for state in self._supervisor.states() if _is_failing(state)]
            if failing and monotonic() > grace_until:
                raise StartupError(f"{failing[0].name} does not start", failing[0].log_file)

        return check

    def _announce(self) -> None:
        options = self._options
        self._progress.print_line(f"ready http://{options.address}")
        if options.loopback_only:
            self._progress.print_line("  login: demo / demo, staff: admin / admin")
        else:
            self._progress.warn(
                f"  {options.host} is reachable from elsewhere: demo and admin cannot log in "
                "before you give them a password (manage.py changepassword admin)"
            )
        if options.simulator_port is not None:
            self._progress.print_line("  answers are simulated; set DEEPSEEK_API_KEY for real ones")
        if options.demo_mcp_port:
            self._progress.print_line(
                f"  tools to try: http://127.0.0.1:{options.demo_mcp_port}/mcp"
            )
        if options.metrics_port:
            metrics = f"http://{address(options.metrics_host, options.metrics_port)}/metrics"
            self._progress.print_line(f"  metrics: {metrics}")
        self._progress.print_line(f"  logs: {log_dir(options.data_dir)}; Ctrl-C stops")

    def _watch(self) -> None:
        if not self._supervisor.running():
            raise StartupError("supervisord ended unexpectedly", self._supervisor.output_file)
        failing = {(s.name, s.state): s for s in self._supervisor.states() if _is_failing(s)}
        for key in failing.keys() - self._reported:
            state = failing[key]
            self._progress.warn(f"{state.name}: fails, being tried again; see {state.log_file}")
        self._reported = set(failing)
        if monotonic() - self._tried_again_at > _TRY_AGAIN_SECONDS:
            self._tried_again_at = monotonic()
            for state in failing.values():
                if state.state == "FATAL":
                    self._supervisor.start_again(state)


def _is_failing(state: ProcessState) -> bool:
    return state.state in {"BACKOFF", "FATAL"}
