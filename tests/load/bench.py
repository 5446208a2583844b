"""`make bench`: starts an installation of its own, loads it, checks the answers, reports.

    make bench                                       the scenario `flight` at its full size
    make bench ARGS="flight --tasks 2000 --stream"
    make bench ARGS="rate"

Exit code 1 when anything was lost, doubled, out of order or wrong. A missed goal is no error.
"""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from aily.programs import WEB_SERVERS
from tests.load import report
from tests.load.scenario_run import BENCH_DIR, run_scenario
from tests.load.scenarios import SCENARIOS
from tests.load.scenarios.scenario import count


def parser() -> argparse.ArgumentParser:
    """A subcommand a scenario."""
    own = argparse.ArgumentParser(prog="tests.load.bench", description=__doc__)
    own.formatter_class = argparse.RawDescriptionHelpFormatter
    commands = own.add_subparsers(dest="scenario", required=True)
    for name, scenario in SCENARIOS.items():
        command = commands.add_parser(name, help=scenario.summary, description=scenario.summary)
        scenario.add_arguments(command)
        command.add_argument("--web", type=count, default=2, help="web processes")
        command.add_argument(
            "--workers", type=count, default=scenario.workers, help="worker processes"
        )
        command.add_argument("--server", choices=WEB_SERVERS, default=WEB_SERVERS[0])
        command.add_argument("--json", type=Path, help="file for the result (var/bench/...)")
    return own


def parse(arguments: list[str]) -> argparse.Namespace:
    """Without a scenario's name, `flight` is meant."""
    is_named = bool(arguments) and not arguments[0].startswith("-")
    asks_help = bool(arguments) and arguments[0] in {"-h", "--help"}
    return parser().parse_args(arguments if is_named or asks_help else ["flight", *arguments])


def run_one(console: Console, options: argparse.Namespace) -> dict[str, Any]:
    """Run, save and show one scenario. Returns its document."""
    defaults = parser().parse_args([options.scenario])
    document = run_scenario(console, options, defaults)
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    path = options.json or BENCH_DIR / f"{options.scenario}-{stamp}.json"
    report.save(document, path)
    report.show(console, document)
    console.print(f"written to {path}")
    return document


def main() -> int:
    """Exit code: 0 when everything was right."""
    console = Console(highlight=False, soft_wrap=True)
    document = run_one(console, parse(sys.argv[1:]))
    return 1 if document["violations"] else 0


if __name__ == "__main__":
    sys.exit(main())
