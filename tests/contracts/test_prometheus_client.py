"""prometheus_client: the files through which processes share metrics."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from prometheus_client import mmap_dict, values

from aily.observability.shared_files import AllocatedDict


def test_a_dictionary_of_ours_writes_what_the_library_reads(tmp_path: Path) -> None:
    file = str(tmp_path / "counter_1.db")
    # It replaces `_init_value`.
    ours = AllocatedDict(file)
    # More than the first 64 KiB.
    for number in range(2000):
        ours.write_value(f"key {number} {'x' * 50}", float(number), 1.0)
    read = {
        key: value
        for key, value, _, _ in mmap_dict.MmapedDict.read_all_values_from_file(file)  # type: ignore[no-untyped-call]
    }
    assert read == {f"key {number} {'x' * 50}": float(number) for number in range(2000)}
    ours.close()


def test_the_class_is_looked_up_where_it_is_replaced() -> None:
    assert hasattr(values, "MmapedDict")


_FORK = """
import os
import aily.observability
from aily.observability.shared_files import write_changes
from prometheus_client import Counter
counter = Counter("calls", "")
counter.inc(2)
if (child := os.fork()) == 0:
    counter.inc(3)
    write_changes()
    os._exit(0)
os.waitpid(child, 0)
counter.inc(5)
write_changes()
print(child, os.getpid())
"""


def test_each_process_counts_in_a_file_of_its_own(tmp_path: Path) -> None:
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", _FORK], env=environment, capture_output=True, text=True, check=True
    )
    child, parent = done.stdout.split()
    counts = {
        file.stem: [
            value
            for _, value, _, _ in mmap_dict.MmapedDict.read_all_values_from_file(str(file))  # type: ignore[no-untyped-call]
        ]
        for file in tmp_path.glob("counter_*.db")
    }
    assert counts == {f"counter_{parent}": [7.0], f"counter_{child}": [3.0]}
