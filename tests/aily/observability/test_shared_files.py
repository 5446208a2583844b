"""Metrics that are shared through files survive a full disk."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from aily.launcher.programs import BASE_DIR
from tests.full_disk import fill, make_room, small_disk

_MEBIBYTE = 1 << 20
#: Counts in a process of its own, which a full disk would kill; a line on standard input goes on.
_PROCESS = """
import sys
import aily.observability
from prometheus_client import Counter, Gauge, values
from aily.observability.shared_files import write_changes

counter = Counter("things", "", ["label"])
for number in range(100):
    counter.labels(f"early {number}").inc()
print("counted", flush=True)
sys.stdin.readline()
for number in range(2000):
    counter.labels(f"late {number}" + "x" * 100).inc()
Gauge("late", "Another file.", multiprocess_mode="livesum").set(7)
write_changes()
print("full", flush=True)
sys.stdin.readline()
counter.labels("early 0").inc()
write_changes()
print("room", flush=True)
"""
_READER = """
import json, sys
from prometheus_client import CollectorRegistry
from prometheus_client.multiprocess import MultiProcessCollector
registry = CollectorRegistry()
MultiProcessCollector(registry, sys.argv[1])
samples = [s for m in registry.collect() for s in m.samples]
print(json.dumps({s.labels.get("label", s.name): s.value for s in samples}))
"""


def shared_values(directory: Path) -> dict[str, float]:
    """What the exporter would tell."""
    read = subprocess.run(
        [sys.executable, "-c", _READER, str(directory)], capture_output=True, text=True, check=True
    )
    found: dict[str, float] = json.loads(read.stdout)
    return found


#: Ends after its second line: as any process, or as a child of `multiprocessing`, as workers do.
_SHORT_PROCESS = """
import multiprocessing, os, sys

# A child of multiprocessing has no standard input.
input = os.dup(0)

def count():
    import aily.observability
    from prometheus_client import Counter
    from aily.observability.shared_files import write_changes

    counter = Counter("things", "", ["label"])
    counter.labels("early").inc()
    write_changes()
    counter.labels("early").inc()
    counter.labels("late").inc(3)
    print("counted", flush=True)
    os.read(input, 1)

if sys.argv[1] == "child":
    child = multiprocessing.get_context("fork").Process(target=count)
    child.start()
    child.join()
else:
    count()
"""


@pytest.mark.parametrize("kind", ["process", "child"])
def test_what_has_changed_is_written_by_the_pulse_and_at_the_end(tmp_path: Path, kind: str) -> None:
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    with subprocess.Popen(
        [sys.executable, "-c", _SHORT_PROCESS, kind],
        cwd=BASE_DIR,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "counted\n"
        assert shared_values(tmp_path) == {"early": 1, "late": 0}
        process.communicate("\n")
    assert process.returncode == 0
    assert shared_values(tmp_path) == {"early": 2, "late": 3}


def test_a_process_counts_on_while_the_disk_is_full_and_tells_when_there_is_room(
    tmp_path: Path,
) -> None:
    with small_disk(tmp_path / "disk", _MEBIBYTE) as disk:
        directory = disk / "metrics"
        environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(directory)}
        with subprocess.Popen(
            [sys.executable, "-c", _PROCESS],
            cwd=BASE_DIR,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None

            def next_step() -> str:
                assert process.stdin is not None
                assert process.stdout is not None
                process.stdin.write("\n")
                process.stdin.flush()
                return process.stdout.readline()

            assert process.stdout.readline() == "counted\n"
            fill(disk)
            assert next_step() == "full\n", process.poll()
            full = shared_values(directory)
            assert full["early 0"] == 1
            assert "late" not in full

            make_room(disk)
            assert next_step() == "room\n"
            shared = shared_values(directory)
        assert process.returncode == 0
        assert shared["early 0"] == 2
        assert shared["late"] == 7
        assert sum(name.startswith("late ") for name in shared) == 2000
