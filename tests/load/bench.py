"""`make bench`: starts an installation of its own, loads it, checks the answers, reports.

    make bench                                       the scenario `flight` at its full size
    make bench ARGS="flight --tasks 2000 --stream"
    make bench ARGS="rate"
    make bench ARGS="all --runs 3"                   everything, in about 25 minutes
    make bench ARGS="tables"                         a table of 100,000 rows, in three minutes
    make bench ARGS="tools"                          loops of three tool calls, in two minutes
    make bench ARGS="waiting"                        2,000 tasks that wait, in three minutes
    make bench ARGS="chat_completions --publish"     beside other gateways, in about 10 minutes
    make bench ARGS="plot"                           README's table and plot, from its results

Exit code 1 when anything was lost, doubled, out of order or wrong. A missed goal is no error.
"""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console

from aily.environment.launcher import WEB_SERVERS, default_web_processes
from tests.load import publish, report, runs, suite, tools, user_tables, waiting_tasks
from tests.load.comparison import run as comparison
from tests.load.comparison import tables
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
        command.add_argument(
            "--web", type=count, default=default_web_processes(), help="web processes"
        )
        command.add_argument(
            "--workers", type=count, default=scenario.workers, help="worker processes"
        )
        command.add_argument("--server", choices=WEB_SERVERS, default=WEB_SERVERS[0])
        command.add_argument("--json", type=Path, help="file for the result (var/bench/...)")
    _add_suite(commands)
    return own


def _add_suite(commands: Any) -> None:
    whole = commands.add_parser("all", help="every scenario, and medians")
    whole.add_argument("--runs", type=count, default=3)
    whole.add_argument("--minutes", type=float, default=25.0, help="no run begins after them")
    whole.add_argument("--small", action="store_true", help="try out the suite itself")
    whole.add_argument("--json", type=Path, help="file for the results (tests/load/results.json)")
    plot = commands.add_parser("plot", help="README's table and plot, from the results")
    plot.add_argument("--json", type=Path, default=suite.RESULTS_FILE)
    compared = commands.add_parser("chat_completions", help=comparison.SUMMARY)
    comparison.add_arguments(compared)
    tools.add_arguments(commands.add_parser("tools", help=tools.SUMMARY))
    waiting_tasks.add_arguments(commands.add_parser("waiting", help=waiting_tasks.SUMMARY))
    runs.add_arguments(commands.add_parser("runs", help=runs.SUMMARY))
    user_tables.add_arguments(commands.add_parser("tables", help=user_tables.SUMMARY))


def parse(arguments: list[str]) -> argparse.Namespace:
    """Without a scenario's name, `flight` is meant."""
    is_named = bool(arguments) and not arguments[0].startswith("-")
    asks_help = bool(arguments) and arguments[0] in {"-h", "--help"}
    return parser().parse_args(arguments if is_named or asks_help else ["flight", *arguments])


def run_one(console: Console, options: argparse.Namespace) -> dict[str, Any]:
    """Run, save and show one scenario, or what measures by itself. Returns its document."""
    if options.scenario == "chat_completions":
        document, show = comparison.run(console, options), tables.show
    elif options.scenario == "runs":
        document, show = runs.run(console, options), runs.show
    elif options.scenario == "tools":
        document, show = tools.run(console, options), tools.show
    elif options.scenario == "waiting":
        document, show = waiting_tasks.run(console, options), waiting_tasks.show
    elif options.scenario == "tables":
        document, show = user_tables.run(console, options), user_tables.show
    else:
        defaults = parser().parse_args([options.scenario])
        document, show = run_scenario(console, options, defaults), report.show
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    path = options.json or BENCH_DIR / f"{options.scenario}-{stamp}.json"
    report.save(document, path)
    show(console, document)
    console.print(f"written to {path}")
    return document


def _run_all(console: Console, options: argparse.Namespace) -> int:
    results = suite.run_suite(console, options, lambda one: run_one(console, parse(one)))
    path = options.json or (BENCH_DIR / "small.json" if options.small else suite.RESULTS_FILE)
    report.save(results, path)
    suite.show(console, results)
    console.print(f'written to {path}; make bench ARGS="plot" puts it into the README')
    return 1 if any(entry["violations"] for entry in results["entries"]) else 0


def _publish(options: argparse.Namespace) -> int:
    results = msgspec.json.decode(options.json.read_bytes())
    if results["is_small"]:
        raise SystemExit("a suite run with --small has no figures to publish")
    publish.write_readme(results)
    publish.write_plot(results)
    return 0


def main() -> int:
    """Exit code: 0 when everything was right."""
    console = Console(highlight=False, soft_wrap=True)
    options = parse(sys.argv[1:])
    if options.scenario == "all":
        return _run_all(console, options)
    if options.scenario == "plot":
        return _publish(options)
    document = run_one(console, options)
    if options.scenario == "chat_completions" and options.publish:
        publish.write_comparison(document)
    return 1 if document["violations"] else 0


if __name__ == "__main__":
    sys.exit(main())
