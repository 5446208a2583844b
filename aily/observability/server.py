"""A small HTTP server for /metrics, /livez and /readyz, on a port of its own.

It answers from threads, so that probes detect a blocked event loop instead of waiting for it.
"""

from __future__ import annotations

import json
import logging
import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from http import HTTPStatus
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import psutil
from prometheus_client import REGISTRY, CollectorRegistry, make_wsgi_app
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from aily.observability import MULTIPROC_DIR

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

logger = logging.getLogger(__name__)

#: Returns whether a part can be used; an exception counts as False.
Check = Callable[[], bool]
#: How long a part may take before it counts as unavailable: less than a prober waits.
PROBE_SECONDS = 1.0
_FILE = re.compile(r"gauge_live\w+_(\d+)\.db$")


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    #: A restarted process can have its port at once.
    allow_reuse_address = True


class _Quiet(WSGIRequestHandler):
    #: After so many seconds a silent client loses its thread.
    timeout = 10

    def log_message(self, *_: object) -> None:
        """Nothing: probes and scrapes come every few seconds."""


class LivingProcesses(MultiProcessCollector):
    """The metrics that this machine's processes share, without gauges of ended processes."""

    def collect(self) -> Iterable[Metric]:
        remove_ended(Path(MULTIPROC_DIR))
        found: Iterable[Metric] = super().collect()  # type: ignore[no-untyped-call]
        return found


def remove_ended(directory: Path) -> None:
    """Delete the gauges of ended processes; their counters stay."""
    for file in directory.iterdir():
        match = _FILE.search(file.name)
        if match and not _is_running(int(match[1]), file):
            mark_process_dead(match[1], str(directory))  # type: ignore[no-untyped-call]


def _is_running(pid: int, file: Path) -> bool:
    try:
        # Another process may have the pid now: it began after the file was last written.
        return bool(psutil.Process(pid).create_time() <= file.stat().st_mtime + 1)
    except (psutil.Error, FileNotFoundError):
        return False


def registry() -> CollectorRegistry:
    """The metrics of this process, or of all that share files with it."""
    if not MULTIPROC_DIR:
        return REGISTRY
    shared = CollectorRegistry()
    LivingProcesses(shared, MULTIPROC_DIR)  # type: ignore[no-untyped-call]
    return shared


def serve(
    host: str,
    port: int,
    *,
    is_alive: Check,
    parts: Mapping[str, Check],
    metrics: CollectorRegistry | None = None,
) -> WSGIServer:
    """Serve from a thread. /readyz checks `parts`. Raises OSError if the port is taken."""
    application = _application(metrics or registry(), is_alive, parts)
    server = make_server(host, port, application, _Server, _Quiet)
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
    return server


def _application(
    metrics: CollectorRegistry, is_alive: Check, parts: Mapping[str, Check]
) -> WSGIApplication:
    render: WSGIApplication = make_wsgi_app(metrics)
    alive, ready = [_Probe("process", is_alive)], [_Probe(*part) for part in parts.items()]

    def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        match environ["PATH_INFO"]:
            case "/metrics":
                return render(environ, start_response)
            case "/livez":
                return _respond(start_response, _results(alive))
            case "/readyz":
                return _respond(start_response, _results(ready))
            case _:
                start_response("404 Not Found", [("Content-Type", "text/plain")])
                return [b"/metrics, /livez, /readyz\n"]

    return application


class _Probe:
    """A check that runs on a thread of its own, as it may wait for a server."""

    def __init__(self, name: str, check: Check) -> None:
        self.name = name
        self._check = check
        self._lock = threading.Lock()
        self._running: Future[bool] | None = None

    def start(self) -> Future[bool]:
        """The result to come. A check that still runs is shared: threads do not pile up."""
        with self._lock:
            if self._running is None or self._running.done():
                self._running = Future()
                threading.Thread(
                    target=self._check_part, args=(self._running,), daemon=True
                ).start()
            return self._running

    def _check_part(self, result: Future[bool]) -> None:
        try:
            result.set_result(self._check())
        except Exception as error:  # noqa: BLE001 - any error means that the part cannot be used
            logger.warning("not ready: %s: %r", self.name, error)
            result.set_result(False)


def _results(probes: Sequence[_Probe]) -> dict[str, bool]:
    """Within PROBE_SECONDS: a check that has not ended by then counts as False."""
    deadline = time.monotonic() + PROBE_SECONDS
    running = {probe.name: probe.start() for probe in probes}
    return {name: _wait(deadline, name, result) for name, result in running.items()}


def _wait(deadline: float, name: str, result: Future[bool]) -> bool:
    try:
        return result.result(max(0.0, deadline - time.monotonic()))
    except TimeoutError:
        logger.warning("not ready: %s: no answer within %g s", name, PROBE_SECONDS)
        return False


def _respond(start_response: StartResponse, parts: Mapping[str, bool]) -> list[bytes]:
    status = HTTPStatus.OK if all(parts.values()) else HTTPStatus.SERVICE_UNAVAILABLE
    status_words = {True: "ok", False: "unavailable"}
    body = {
        "status": status_words[all(parts.values())],
        "parts": {name: status_words[is_ok] for name, is_ok in parts.items()},
    }
    headers = [("Content-Type", "application/json"), ("Cache-Control", "no-store")]
    start_response(f"{status.value} {status.phrase}", headers)
    return [json.dumps(body).encode()]
