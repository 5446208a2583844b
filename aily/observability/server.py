"""The small HTTP server beside the work: /metrics, /livez, /readyz, on a port of its own.

It answers from threads, so that probes tell of a busy event loop instead of waiting for it.
"""

from __future__ import annotations

import json
import logging
import re
import socket
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from http import HTTPStatus
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import psutil
from prometheus_client import REGISTRY, CollectorRegistry, make_wsgi_app
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from aily.observability import MULTIPROC_DIR

logger = logging.getLogger(__name__)

#: Says whether a part can be used; what it raises counts as no.
Check = Callable[[], bool]
#: How long a part may take to answer before it counts as away: less than a prober waits.
PROBE_SECONDS = 1.0
_FILE = re.compile(r"gauge_live\w+_(\d+)\.db$")


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    #: A process that is started again at once finds its port free.
    allow_reuse_address = True


class _IPv6Server(_Server):
    address_family = socket.AF_INET6


class _Quiet(WSGIRequestHandler):
    #: A client that says nothing lets go of its thread, in seconds.
    timeout = 10

    def log_message(self, *_: Any) -> None:
        """Nothing: probes and scrapes come every few seconds."""


class LivingProcesses(MultiProcessCollector):
    """What the processes on this machine share, without the gauges of the dead."""

    def collect(self) -> Iterable[Metric]:
        forget_dead(Path(MULTIPROC_DIR))
        found: Iterable[Metric] = super().collect()  # type: ignore[no-untyped-call]
        return found


def forget_dead(directory: Path) -> None:
    """Delete the gauges of processes that are gone; what they counted stays."""
    for file in directory.iterdir():
        match = _FILE.search(file.name)
        if match and not _is_running(int(match[1]), file):
            mark_process_dead(match[1], str(directory))  # type: ignore[no-untyped-call]


def _is_running(pid: int, file: Path) -> bool:
    try:
        # Another process may have the number by now: it began after the file was last written.
        return bool(psutil.Process(pid).create_time() <= file.stat().st_mtime + 1)
    except (psutil.Error, FileNotFoundError):
        return False


def registry() -> CollectorRegistry:
    """What this process, or all that share with it, have counted."""
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
    """Serve from a thread. `parts` are what /readyz asks. Raises OSError when the port is taken."""
    application = _application(metrics or registry(), is_alive, parts)
    kind = _IPv6Server if ":" in host else _Server
    server = make_server(host, port, application, kind, _Quiet)
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
    return server


def _application(
    metrics: CollectorRegistry, is_alive: Check, parts: Mapping[str, Check]
) -> Callable[..., Any]:
    render = make_wsgi_app(metrics)
    alive, ready = [_Probe("process", is_alive)], [_Probe(*one) for one in parts.items()]

    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        match environ["PATH_INFO"]:
            case "/metrics":
                return render(environ, start_response)
            case "/livez":
                return _answer(start_response, _verdicts(alive))
            case "/readyz":
                return _answer(start_response, _verdicts(ready))
            case _:
                start_response("404 Not Found", [("Content-Type", "text/plain")])
                return [b"/metrics, /livez, /readyz\n"]

    return application


class _Probe:
    """A check that is asked on a thread of its own, as it may have to wait for a server."""

    def __init__(self, name: str, check: Check) -> None:
        self.name = name
        self._check = check
        self._lock = threading.Lock()
        self._asked: Future[bool] | None = None

    def ask(self) -> Future[bool]:
        """The verdict to be. One that is still awaited stands: threads do not pile up."""
        with self._lock:
            if self._asked is None or self._asked.done():
                self._asked = Future()
                threading.Thread(target=self._answer, args=(self._asked,), daemon=True).start()
            return self._asked

    def _answer(self, asked: Future[bool]) -> None:
        try:
            asked.set_result(self._check())
        except Exception as error:  # noqa: BLE001 - whatever it is, the part cannot be used
            logger.warning("not ready: %s: %r", self.name, error)
            asked.set_result(False)


def _verdicts(probes: Sequence[_Probe]) -> dict[str, bool]:
    """All within PROBE_SECONDS: what has not answered by then is away."""
    deadline = time.monotonic() + PROBE_SECONDS
    asked = {probe.name: probe.ask() for probe in probes}
    return {name: _by(deadline, name, verdict) for name, verdict in asked.items()}


def _by(deadline: float, name: str, verdict: Future[bool]) -> bool:
    try:
        return verdict.result(max(0.0, deadline - time.monotonic()))
    except TimeoutError:
        logger.warning("not ready: %s: no answer within %g s", name, PROBE_SECONDS)
        return False


def _answer(start_response: Callable[..., Any], parts: Mapping[str, bool]) -> list[bytes]:
    status = HTTPStatus.OK if all(parts.values()) else HTTPStatus.SERVICE_UNAVAILABLE
    words = {True: "ok", False: "unavailable"}
    body = {
        "status": words[all(parts.values())],
        "parts": {name: words[is_ok] for name, is_ok in parts.items()},
    }
    headers = [("Content-Type", "application/json"), ("Cache-Control", "no-store")]
    start_response(f"{status.value} {status.phrase}", headers)
    return [json.dumps(body).encode()]
