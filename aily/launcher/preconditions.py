"""What must hold before a start: a free data directory, free ports, enough open files."""

from __future__ import annotations

import fcntl
import resource
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from aily.embedded.addresses import runtime_dir
from aily.embedded.service import process_of
from aily.launcher.errors import StartupError
from aily.launcher.programs import Options
from aily.launcher.progress import Progress
from aily.launcher.supervision import pid_file
from aily.process.lifetimes import end_processes

#: Below this hard limit a process holds fewer calls than WORKER_MAX_CALLS' default.
_FEW_FILES = 6_000


@contextmanager
def sole_launcher(options: Options) -> Iterator[bool]:
    """Lock the data directory for this launcher; yields whether it was free.

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
    """Raise StartupError for the first port that is taken, naming the variable to change."""
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
                raise StartupError(_port_message(variable, host, port, error)) from error


def _port_message(variable: str, host: str, port: int, error: OSError) -> str:
    if isinstance(error, socket.gaierror):
        variable = "METRICS_HOST" if variable == "METRICS_PORT" else "HOST"
        return f"{variable}={host} is not an IPv4 address or name"
    if error.errno == 98:
        return f"port {port} is already in use; choose another with {variable}=…"
    return f"cannot listen on {host}:{port}: {error.strerror}; choose another with {variable}=…"


def end_previous_run(options: Options, progress: Progress) -> None:
    """Wait for the processes of a killed launcher, to which the kernel has sent a signal.

    Call it with the data directory locked: then all processes that run in it have no launcher.
    """
    candidates = [(pid_file(runtime_dir(options.data_dir)), "supervisord")]
    candidates += [(service.pid_file, service.name) for service in options.services]
    running = [process for path, name in candidates if (process := process_of(path, name))]
    if running:
        with progress.step("end of the previous run"):
            end_processes(running, grace_seconds=60)


def raise_open_file_limit(progress: Progress) -> None:
    """Raise the limit of open files to the hard limit; print a warning if that is low.

    A socket and a provider call are a file each, and the usual limit is 1,024. Past it, sockets and
    calls are refused.
    """
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard != resource.RLIM_INFINITY and hard < _FEW_FILES:
        progress.warn(
            f"only {hard} open files a process (ulimit -n); each socket and each call is one"
        )
