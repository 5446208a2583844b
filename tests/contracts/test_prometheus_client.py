"""prometheus_client: the files through which processes share metrics."""

from __future__ import annotations

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
