"""`manage.py status [--watch [SECONDS]] [--json]`."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict

import msgspec
from django.core.management.base import CommandError, CommandParser
from django.db import Error

from aily.management.operator_command import OperatorCommand
from chat.management.commands.pauses import describe
from chat.services.status import (
    DeploymentStatus,
    ModelStatus,
    QueueStatus,
    StatusReader,
    WorkerStatus,
)

#: Clears a terminal, and goes to its first line.
_CLEAR = "\x1b[2J\x1b[H"
MAX_WATCH_SECONDS = 3600.0
_NEVER = "-"
_DEPLOYMENT_HEADER = ("DEPLOYMENT", "PROVIDER", "WEIGHT", "SLOTS", "A MINUTE", "STATE")


class Command(OperatorCommand):
    help = "Show the queue by model and lane, deployments, pauses, workers and the last errors."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="one JSON object a line")
        parser.add_argument(
            "--watch",
            type=float,
            nargs="?",
            const=2.0,
            metavar="SECONDS",
            help="show it again every so many seconds (2) until Ctrl-C",
        )

    def handle(self, *, json: bool, watch: float | None, **options: object) -> None:
        if watch is not None and not 0.1 <= watch <= MAX_WATCH_SECONDS:
            raise CommandError(f"--watch takes 0.1 to {MAX_WATCH_SECONDS:g} seconds.")
        reader = StatusReader()
        if watch is None:
            self._show(reader, as_json=json)
            return
        try:
            while True:
                self._watch(reader, as_json=json)
                time.sleep(watch)
        except KeyboardInterrupt:
            return

    def _watch(self, reader: StatusReader, *, as_json: bool) -> None:
        if not as_json and self.stdout.isatty():
            self.stdout.write(_CLEAR, ending="")
        try:
            self._show(reader, as_json=as_json)
        except CommandError as error:
            # It may be back at the next look.
            self.stderr.write(str(error))
        self.stdout.flush()

    def _show(self, reader: StatusReader, *, as_json: bool) -> None:
        try:
            status = reader.read()
        except Error as error:
            raise CommandError(f"PostgreSQL is away: {error}".strip()) from error
        if as_json:
            self.stdout.write(msgspec.json.encode(_document(status)).decode())
        else:
            self.stdout.write("\n".join(_lines(status)))


def _document(status: QueueStatus) -> dict[str, object]:
    return {
        "at": status.at,
        "models": [asdict(model) for model in status.models],
        "pauses": None if status.pauses is None else [asdict(pause) for pause in status.pauses],
        "workers": [msgspec.to_builtins(worker) for worker in status.workers],
        "errors": [asdict(error) for error in status.errors],
    }


# --- For people -----------------------------------------------------------------------------------
def _lines(status: QueueStatus) -> Iterator[str]:
    yield f"{status.at:%Y-%m-%d %H:%M:%S} UTC"
    header = ("MODEL", "PROVIDER", "QUEUED", "BY LANE", "OLDEST", "RUNNING", "SLOTS", "STATE")
    yield from _table(header, [_model_row(model, status) for model in status.models])
    several = [model for model in status.models if len(model.deployments) > 1 or _is_limited(model)]
    if several:
        yield ""
        rows = [
            _deployment_row(model, deployment)
            for model in several
            for deployment in model.deployments
        ]
        yield from _table(_DEPLOYMENT_HEADER, rows)
    yield ""
    workers = [_worker_row(worker) for worker in status.workers]
    yield from _table(("WORKER", "PROCESS", "CALLS", "STATE"), workers)
    if status.pauses is None:
        yield "\nRedis is away: slots and pauses are not known"
    elif status.pauses:
        yield ""
        names = [
            (f"{pause.kind} {pause.name}", pause.cause, describe(pause)) for pause in status.pauses
        ]
        yield from _table(("PAUSED", "BY", "FOR"), names)
    if status.errors:
        yield ""
        errors = [
            (
                f"{error.finished_at:%H:%M:%S}" if error.finished_at else _NEVER,
                error.task_id,
                error.model,
                error.code,
                error.message[:80],
            )
            for error in status.errors
        ]
        yield from _table(("FAILED AT", "TASK", "MODEL", "CODE", "MESSAGE"), errors)


def _model_row(model: ModelStatus, status: QueueStatus) -> tuple[str, ...]:
    lanes = " ".join(f"{lane.lane} {lane.queued}" for lane in model.lanes if lane.queued)
    is_known = model.slots is not None and model.limit is not None
    slots = f"{model.slots}/{model.limit} of {model.cap}" if is_known else f"?/{model.cap}"
    return (
        model.name,
        model.provider,
        str(model.queued),
        lanes or _NEVER,
        _duration(model.oldest_seconds) if model.queued else _NEVER,
        str(model.running),
        slots,
        _model_state(model, status),
    )


def _model_state(model: ModelStatus, status: QueueStatus) -> str:
    if not model.is_enabled:
        return "disabled"
    causes = [
        pause.cause
        for pause in status.pauses or ()
        if (pause.kind, pause.name) in {("model", model.name), ("provider", model.provider)}
    ]
    return f"paused ({', '.join(causes)})" if causes else "open"


def _is_limited(model: ModelStatus) -> bool:
    return any(
        deployment.requests_per_minute or deployment.tokens_per_minute
        for deployment in model.deployments
    )


def _deployment_row(model: ModelStatus, deployment: DeploymentStatus) -> tuple[str, ...]:
    is_known = deployment.slots is not None and deployment.limit is not None
    limits = (
        (deployment.requests, deployment.requests_per_minute, "requests"),
        (deployment.tokens, deployment.tokens_per_minute, "tokens"),
    )
    used = [
        f"{'?' if count is None else count}/{limit} {unit}"
        for count, limit, unit in limits
        if limit
    ]
    return (
        f"{model.name}@{deployment.name}",
        deployment.provider,
        str(deployment.weight),
        f"{deployment.slots}/{deployment.limit} of {deployment.cap}"
        if is_known
        else f"?/{deployment.cap}",
        ", ".join(used) or _NEVER,
        _deployment_state(deployment),
    )


def _deployment_state(deployment: DeploymentStatus) -> str:
    if deployment.weight == 0:
        return "takes no tasks"
    states = []
    if deployment.breaker not in (None, "closed"):
        states.append("left alone" if deployment.breaker == "open" else "being tried")
    if deployment.pause_seconds:
        states.append(f"paused for {deployment.pause_seconds:.0f} s")
    return ", ".join(states) or "open"


def _worker_row(worker: WorkerStatus) -> tuple[str, ...]:
    state = "late" if worker.is_late else "draining" if worker.is_draining else "running"
    return worker.worker_id, f"{worker.hostname}:{worker.pid}", str(worker.calls), state


def _duration(seconds: float) -> str:
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    if not rows:
        rows = [("none", *[""] * (len(header) - 1))]
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    for row in (header, *rows):
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        yield "  ".join(cells).rstrip()
