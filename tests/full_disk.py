"""A small disk that a test may fill: a tmpfs, for which one must be root."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

FILLER = "filler"


@contextmanager
def small_disk(path: Path, size_bytes: int) -> Iterator[Path]:
    """Mount a disk of that size. Skips where that is not allowed, but not in CI."""
    path.mkdir(parents=True, exist_ok=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size_bytes},mode=0755", "tmpfs", str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode != 0:
        if os.environ.get("CI"):
            pytest.fail(f"no disk can be mounted: {mounted.stderr}")
        pytest.skip("only root may mount a disk")
    try:
        yield path
    finally:
        # Lazily: a process that is ending may hold a file of it.
        subprocess.run(["umount", "--lazy", str(path)], check=True)


def fill(disk: Path) -> None:
    """Use up the last byte."""
    with (disk / FILLER).open("ab", buffering=0) as filler:
        for size in (1 << 20, 4096, 1):
            try:
                while True:
                    filler.write(b"x" * size)
            except OSError:
                continue


def make_room(disk: Path) -> None:
    (disk / FILLER).unlink()
