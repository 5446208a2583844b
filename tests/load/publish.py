"""Puts a suite's results where they are read: the README's table and the plot beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from aily.launcher.programs import BASE_DIR
from tests.load import report
from tests.load.comparison import tables

README = BASE_DIR / "README.md"
PLOT = BASE_DIR / "static" / "img" / "bench.svg"
_BEGIN, _END = "<!-- bench: made by make bench -->", "<!-- bench: end -->"
_COMPARISON = "<!-- chat_completions: made by make bench -->", "<!-- chat_completions: end -->"
_PARTS = ("web", "worker", "postgres", "valkey", "simulator", "generator")
_COLOURS = ("#2563eb", "#0891b2", "#7c3aed", "#db2777", "#a3a3a3", "#d4d4d4")
_SUBMIT = (
    *("throughput_tasks_per_second", "web_cpu_ms_per_task"),
    *("accept_p50_seconds", "accept_p99_seconds"),
)
_SHOWN = {
    "idle": ("overhead_p50_seconds", "overhead_p99_seconds"),
    "flight": (
        *("tasks_in_flight_max", "overhead_p50_seconds", "overhead_p99_seconds"),
        *("web_and_worker_cpu_ms_per_task", "web_and_worker_rss_bytes"),
    ),
    "rate": ("sustained_tasks_per_second", "overhead_p50_seconds", "overhead_p99_seconds"),
    "relay": (
        *("relay_lag_p50_seconds", "relay_lag_p99_seconds", "web_and_worker_cpu_ms_per_delta"),
    ),
    "sockets": (
        *("connects_per_second", "web_cpu_ms_per_socket", "web_rss_bytes_per_socket"),
        "idle_web_cpu_ms_per_second_per_1000_sockets",
    ),
    "submit": _SUBMIT,
    "submit_http": _SUBMIT,
    "lease": ("cap_used_percent", "calls_at_once_over_cap", "refused_429"),
}


#: Scenarios whose cost a task the plot has.
_COSTS = ("flight", "submit", "submit_http", "rate")


def write_readme(results: dict[str, Any], readme: Path = README) -> None:
    """The suite's results. Raises ValueError when the README has no place for them."""
    _write_between((_BEGIN, _END), _table(results), readme)


def write_comparison(document: dict[str, Any], readme: Path = README) -> None:
    """The comparison with other gateways. Raises ValueError when the README has no place for it."""
    _write_between(_COMPARISON, tables.markdown(document), readme)


def _write_between(marks: tuple[str, str], table: str, readme: Path) -> None:
    text = readme.read_text()
    before, begin, rest = text.partition(marks[0])
    _, end, after = rest.partition(marks[1])
    if not (begin and end):
        raise ValueError(f"{readme.name} has no place for the figures: {' ... '.join(marks)}")
    readme.write_text(f"{before}{begin}\n{table}\n{end}{after}")


def _table(results: dict[str, Any]) -> str:
    lines = [_where(results["machine"]) + ", medians of the runs.", ""]
    if foreign := _disturbed(results):
        lines += [foreign, ""]
    lines += ["| load | runs | measured | goal |", "|---|---|---|---|"]
    for entry in results["entries"]:
        goals = "; ".join(f"{goal['goal']}: **{goal['verdict']}**" for goal in entry["goals"])
        lines.append(f"| {entry['title']} | {entry['runs']} | {_measured(entry)} | {goals} |")
    image = PLOT.relative_to(README.parent)
    lines += ["", f"![CPU a task by part, and latency by rate]({image})"]
    return "\n".join(lines)


def _where(machine: dict[str, Any]) -> str:
    gib = machine["memory_bytes"] / 2**30
    return (
        f"{machine['date'][:10]}, {machine['cpu']}, {machine['cores']} cores, {gib:.0f} GiB, "
        f"Python {machine['python']}"
    )


def _disturbed(results: dict[str, Any]) -> str:
    lines = [line for entry in results["entries"] for line in entry["warnings"]]
    if any(line.startswith("other programs") for line in lines):
        return "**Preliminary: other programs used the machine meanwhile**, which spoils latencies."
    return ""


def _measured(entry: dict[str, Any]) -> str:
    figures = entry["figures"]
    shown = []
    for name in _SHOWN.get(entry["scenario"], ()):
        if figures.get(name) is not None:
            label, value = report.readable(name, figures[name])
            shown.append(f"{label} {value}")
    wrong = f", **{entry['violations']} things wrong**" if entry["violations"] else ""
    return ", ".join(shown) + wrong


def write_plot(results: dict[str, Any], file: Path = PLOT) -> None:
    """Left: what a task costs each part; right: latency by rate. With date and machine."""
    # Imported late: it takes a second, and only this needs it.
    import matplotlib as mpl

    mpl.use("svg")
    # The same results give the same file.
    mpl.rcParams["svg.hashsalt"] = "aily"
    from matplotlib import pyplot as plt

    figure, (cost, latency) = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
    _plot_cost(cost, results)
    _plot_rate(latency, results)
    figure.suptitle(_where(results["machine"]), fontsize=9)
    figure.savefig(file, metadata={"Date": None})
    plt.close(figure)


def _plot_cost(axes: Any, results: dict[str, Any]) -> None:
    entries = [
        entry
        for entry in results["entries"]
        if entry["scenario"] in ("flight", "submit", "submit_http", "rate")
        and entry["cpu_ms_per_task"]
    ]
    left = [0.0] * len(entries)
    titles = [entry["title"] for entry in entries]
    for part, colour in zip(_PARTS, _COLOURS, strict=True):
        widths = [entry["cpu_ms_per_task"].get(part) or 0.0 for entry in entries]
        axes.barh(titles, widths, left=left, label=part, color=colour)
        left = [start + width for start, width in zip(left, widths, strict=True)]
    axes.invert_yaxis()
    axes.set_xlabel("CPU a task, ms")
    axes.set_title("What a task costs")
    axes.legend(fontsize=7)
    axes.tick_params(axis="y", labelsize=7)


def _plot_rate(axes: Any, results: dict[str, Any]) -> None:
    figures: dict[str, float | None] = next(
        (entry["figures"] for entry in results["entries"] if entry["scenario"] == "rate"), {}
    )
    for share in ("p50", "p99"):
        end = f"_overhead_{share}_seconds"
        points = sorted(
            (float(name.removeprefix("at_").removesuffix(end)), value * 1000)
            for name, value in figures.items()
            if name.startswith("at_") and name.endswith(end) and value is not None
        )
        if points:
            axes.plot(*zip(*points, strict=True), marker="o", label=share)
    axes.axhline(250, color="#dc2626", linewidth=1, linestyle="--", label="250 ms")
    axes.set_yscale("log")
    axes.set_xlabel("tasks a second")
    axes.set_ylabel("overhead, ms")
    axes.set_title("Latency by rate, answers of 2 s")
    axes.legend(fontsize=7)
