"""`manage.py run FILE --user NAME [--scene SLUG] [--map VARIABLE=COLUMN] ...`."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterable, Iterator
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from accounts.models import User
from aily.management.operator_command import OperatorCommand
from aily.problems import Conflict, Problem
from chat.models import Run, RunState
from chat.models.files import PIECE_BYTES
from chat.models.runs import ENDED_RUNS
from chat.runs import control, estimating
from chat.runs.actors import ring_feeder
from chat.runs.creation import NewRun, create_run
from chat.runs.export import STATES, CSVEncoder, as_jsonl, export

_POLL_SECONDS = 0.5
_SETTLED = (*ENDED_RUNS, RunState.PAUSED)


class Command(OperatorCommand):
    help = "Make a run of a CSV or JSONL file, start it, and show how far it is."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path)
        parser.add_argument("--user", required=True, metavar="NAME", help="whose run it is")
        parser.add_argument("--scene", default="", metavar="SLUG", help="default: whole requests")
        parser.add_argument(
            "--map",
            action="append",
            default=[],
            dest="mapping",
            metavar="VARIABLE=COLUMN",
            help="default: each column is the variable of its name",
        )
        parser.add_argument("--model", default="", metavar="NAME")
        parser.add_argument("--max-cost", type=_money, metavar="AMOUNT")
        parser.add_argument("--try", type=int, default=0, dest="rows", metavar="ROWS")
        parser.add_argument("--start", choices=("now", "off_peak"), default="now")
        parser.add_argument(
            "--output", type=Path, metavar="FILE", help="write the results, .csv or .jsonl"
        )
        parser.add_argument("--yes", action="store_true", help="do not ask")

    def handle(self, *, file: Path, output: Path | None, **options: Any) -> None:
        run: Run | None = None
        try:
            run = self._create(file, options)
            self._wait(run, RunState.READY, *ENDED_RUNS)
            self._check(run)
            if options["rows"]:
                self._try(run, options["rows"])
                self._watch(run, lambda: run.open > 0)
            estimate = estimating.estimate(run)
            self._show(estimate)
            if not options["yes"] and not self._is_confirmed():
                control.cancel(run)
                return
            control.start(run, options["start"])
            ring_feeder()
            self._watch(run, lambda: run.state not in _SETTLED)
        except Problem as problem:
            words = f"{problem.field}: {problem.message}" if problem.field else problem.message
            raise CommandError(words) from problem
        except KeyboardInterrupt:
            if run is not None:
                self.stderr.write(f"the run {run.pk} stays; go on with its REST API or the admin")
            return
        self._end(run, output)

    # --- Before the start -----------------------------------------------------------------------
    def _create(self, file: Path, options: dict[str, Any]) -> Run:
        user = User.objects.filter(username=options["user"]).first()
        if user is None:
            raise CommandError(f"There is no user {options['user']!r}.")
        if not file.is_file():
            raise CommandError(f"There is no file {file}.")
        new = NewRun(
            name=file.name[:200],
            format="csv" if file.suffix.lower() in (".csv", ".tsv", ".txt") else "jsonl",
            scene=options["scene"],
            mapping=dict(_pair(text) for text in options["mapping"]),
            options={"model": options["model"]} if options["model"] else {},
            max_cost=options["max_cost"],
        )
        with file.open("rb") as content:
            run, _ = create_run(user.pk, None, new, iter(lambda: content.read(PIECE_BYTES), b""))
        ring_feeder()
        return run

    def _wait(self, run: Run, *states: str) -> None:
        while run.state not in states:
            time.sleep(_POLL_SECONDS)
            run.refresh_from_db()

    def _try(self, run: Run, rows: int) -> None:
        """Try rows, as soon as no other process works on the run."""
        while True:
            try:
                control.try_rows(run, rows)
            except Conflict as conflict:
                if conflict.retry_after_seconds is None:
                    raise
                time.sleep(conflict.retry_after_seconds)
                run.refresh_from_db()
            else:
                return

    def _check(self, run: Run) -> None:
        for error in run.errors[:20]:
            self.stderr.write(f"line {error['line']}: {error['message']}")
        if run.state != RunState.READY:
            raise CommandError(run.message or f"The run is {run.state}.")
        self.stdout.write(f"{run.total} rows, {run.invalid} of them invalid")

    def _show(self, estimate: estimating.Estimate) -> None:
        likely, most = estimate.likely, estimate.at_most
        self.stdout.write(
            f"{estimate.rows} rows of {estimate.model}: about {likely.cost:.4f} "
            f"{estimate.currency}, at most {most.cost:.4f}; off-peak {estimate.off_peak.cost:.4f}"
        )
        for problem in estimate.problems[:5]:
            self.stderr.write(f"row {problem['row']}: {problem['message']}")

    def _is_confirmed(self) -> bool:
        if not sys.stdin.isatty():
            raise CommandError("There is nobody to ask: add --yes to start it.")
        return input("Start it? [y/N] ").strip().lower() in ("y", "yes")

    # --- While it runs --------------------------------------------------------------------------
    def _watch(self, run: Run, is_going: Any) -> None:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        console = Console(file=self.stderr)  # type: ignore[arg-type]
        run.refresh_from_db()
        with Progress(*columns, console=console, transient=True) as progress:
            bar = progress.add_task(run.state, total=run.total - run.invalid)
            while is_going():
                time.sleep(_POLL_SECONDS)
                run.refresh_from_db()
                progress.update(bar, completed=run.ended_rows, description=_words(run))

    def _end(self, run: Run, output: Path | None) -> None:
        self.stdout.write(
            f"{_words(run)}: {run.succeeded} succeeded, {run.failed} failed, "
            f"{run.cost:.4f} {run.currency}"
        )
        if output is not None:
            asyncio.run(_write(run, output))
        if run.state != RunState.DONE or run.failed:
            raise CommandError(run.message or f"{run.failed} rows failed.")


def _words(run: Run) -> str:
    return f"{run.state} ({run.reason})" if run.reason else run.state


def _pair(text: str) -> tuple[str, str]:
    variable, separator, column = text.partition("=")
    if not (separator and variable and column):
        raise CommandError(f"--map takes VARIABLE=COLUMN, not {text!r}.")
    return variable, column


def _money(text: str) -> Decimal:
    try:
        amount = Decimal(text)
    except InvalidOperation:
        amount = Decimal("NaN")
    if not amount.is_finite() or amount < 0:
        raise CommandError(f"--max-cost takes an amount, not {text!r}.")
    return amount


async def _write(run: Run, output: Path) -> None:
    encoder = CSVEncoder(run, is_safe=True, has_bom=True)
    is_csv = output.suffix.lower() == ".csv"
    content: AsyncIterable[bytes] = export(run, STATES, encoder if is_csv else as_jsonl)
    with output.open("wb") as file:
        for head in _heads(encoder, is_csv):
            file.write(head)
        async for chunk in content:
            file.write(chunk)


def _heads(encoder: CSVEncoder, is_csv: bool) -> Iterator[bytes]:
    if is_csv:
        yield encoder.header()
