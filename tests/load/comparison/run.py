"""The scenario `chat_completions`: every contender in turn, several rounds, medians."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any, Self

import msgspec
import psutil
from rich.console import Console

from aily.environment.launcher import WEB_SERVERS, default_web_processes
from aily.launcher.programs import BASE_DIR
from aily.process.lifetimes import tied_to_parent
from tests.load import machine
from tests.load.comparison.aily import Aily
from tests.load.comparison.calls import Calls, Load, Phase
from tests.load.comparison.contenders import Contender, Direct, difference, memory_bytes
from tests.load.comparison.measured import GOALS, Measured, goal_figures, rows
from tests.load.comparison.rivals import LiteLLM, Portkey, SglangRouter
from tests.load.comparison.simulator import ANSWER_TOKENS, Simulator
from tests.load.goals import verdicts
from tests.load.measure import busy_cpu_seconds, percentile
from tests.load.scenarios.scenario import count

SUMMARY = "waiting chat completions over HTTP, beside other gateways before the same simulator"
RIVALS: tuple[type[Contender], ...] = (Portkey, LiteLLM, SglangRouter)
MODES = ("plain", "stream")
AT_ONCE = (50, 200)
_WARM_UP_SECONDS = 1.0
#: Prompts of one load; none sends so many calls.
_NUMBERS = 100_000
_LATE_SECONDS = 0.02


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The defaults are what the goals speak of."""
    names = [rival.name for rival in RIVALS]
    parser.add_argument("--rivals", nargs="*", choices=names, default=names, help="compared with")
    parser.add_argument("--without-aily", action="store_true", help="the rivals alone")
    parser.add_argument("--modes", nargs="+", choices=MODES, default=list(MODES))
    parser.add_argument("--at-once", nargs="+", type=count, default=list(AT_ONCE))
    parser.add_argument("--rounds", type=count, default=3)
    parser.add_argument("--seconds", type=float, default=6.0, help="measured of each load")
    parser.add_argument("--users", type=count, default=50, help="of aily, with a key each")
    parser.add_argument("--web", type=count, default=default_web_processes(), help="of aily")
    parser.add_argument("--workers", type=count, default=2, help="of aily")
    parser.add_argument("--server", choices=WEB_SERVERS, default=WEB_SERVERS[0])
    parser.add_argument("--json", type=Path, help="file for the result (var/bench/...)")
    parser.add_argument("--publish", action="store_true", help="and put it into README.md")


def run(console: Console, options: argparse.Namespace) -> dict[str, Any]:
    """Install the rivals, measure, and return a document like a scenario's."""
    rivals = [rival for rival in RIVALS if rival.name in options.rivals]
    for rival in rivals:
        rival.install(console)
    rounds: list[list[Measured]] = []
    violations: list[str] = []
    for number in range(options.rounds):
        console.rule(f"round {number + 1} of {options.rounds}")
        rounds.append([])
        with (
            tempfile.TemporaryDirectory(prefix="aily-bench-") as scratch,
            Simulator(Path(scratch)) as simulator,
        ):
            for contender in _contenders(rivals, simulator, Path(scratch), options):
                console.print(f"{contender.name} …")
                measured, wrong = _measure(contender, options)
                rounds[-1] += measured
                violations += [f"{contender.name}: {line}" for line in wrong]
    return _document(options, rounds, violations)


def _contenders(
    rivals: list[type[Contender]], simulator: Simulator, scratch: Path, options: argparse.Namespace
) -> Iterator[Contender]:
    yield Direct(simulator.url, scratch)
    if not options.without_aily:
        yield Aily(simulator.url, scratch, options)
    for rival in rivals:
        yield rival(simulator.url, scratch)


def _measure(contender: Contender, options: argparse.Namespace) -> tuple[list[Measured], list[str]]:
    """Every load on the contender, which runs alone with the simulator and the callers."""
    with contender, Callers(contender) as callers:
        callers.call("plain", AT_ONCE[0], _WARM_UP_SECONDS)
        found = [
            callers.call(mode, at_once, options.seconds)
            for mode, at_once in product(options.modes, options.at_once)
        ]
        wrong = [error for item in found for error in item.calls.errors]
        return found, wrong + contender.violations(callers.answered)


class Callers:
    """The process that calls a contender; `with` ends it."""

    def __init__(self, contender: Contender) -> None:
        self.answered = 0
        self._contender = contender
        self._process = psutil.Popen(
            tied_to_parent([sys.executable, "-m", "tests.load.comparison.callers"]),
            cwd=BASE_DIR,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._first_number = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        self._process.stdin.close()
        self._process.stdout.close()

    def call(self, mode: str, at_once: int, seconds: float) -> Measured:
        """Measure one load. The clocks are read when the callers say that they measure."""
        self._send(mode, at_once, seconds)
        self._wait_for("measuring")
        before, busy = self._contender.cpu_seconds(), busy_cpu_seconds()
        self._wait_for("measured")
        used = difference(self._contender.cpu_seconds(), before)
        busy = busy_cpu_seconds() - busy
        memory = memory_bytes(self._contender.processes())
        calls = msgspec.json.decode(self._read(), type=Calls)
        self.answered += calls.answered
        cores = psutil.cpu_count() or 1
        busy_share = busy / calls.measured_seconds / cores
        return Measured(
            self._contender.name, mode, at_once, calls, used, memory, min(busy_share, 1.0)
        )

    def _send(self, mode: str, at_once: int, seconds: float) -> None:
        load = Load(
            url=self._contender.url,
            headers=self._contender.headers,
            at_once=at_once,
            stream=mode == "stream",
            seconds=seconds,
            answer_tokens=ANSWER_TOKENS,
            first_number=self._first_number,
        )
        self._first_number += _NUMBERS
        self._process.stdin.write(msgspec.json.encode(load).decode() + "\n")
        self._process.stdin.flush()

    def _wait_for(self, phase: str) -> None:
        line = self._read()
        if msgspec.json.decode(line, type=Phase).phase != phase:
            raise RuntimeError(f"the callers said {line!r} in place of {phase}")

    def _read(self) -> str:
        line: str = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the callers ended early; their error is above")
        return line


def _document(
    options: argparse.Namespace, rounds: list[list[Measured]], violations: list[str]
) -> dict[str, Any]:
    table = rows(rounds)
    figures = goal_figures(table)
    return {
        "scenario": "chat_completions",
        "options": {name: value for name, value in vars(options).items() if name != "json"},
        "machine": machine.describe(),
        "rows": table,
        "figures": figures,
        "goals": verdicts(GOALS, figures),
        "violations": len(violations),
        "violations_first": violations[:10],
        "warnings": _warnings([item for measured in rounds for item in measured]),
    }


def _warnings(measured: list[Measured]) -> list[str]:
    """What makes latencies of these runs say less than they seem to."""
    found = []
    for item in measured:
        lag = percentile(item.calls.timer_lags_seconds, 0.99) or 0.0
        if lag > _LATE_SECONDS:
            late = f"{item.contender}, {item.load}: the callers woke up {lag * 1000:.0f} ms late"
            found.append(f"{late} (p99), {item.busy_share:.0%} of the machine was busy")
    return found
