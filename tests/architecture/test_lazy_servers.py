"""A run starts its servers when a test first needs them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from aily.launcher.programs import BASE_DIR


def run_tests(root: Path, test: str, **variables: str) -> set[str]:
    """Run a test in a process of its own; returns the servers that it started, by their logs."""
    environment = {key: value for key, value in os.environ.items() if "PYTEST" not in key}
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", test],
        cwd=BASE_DIR,
        env={**environment, "AILY_TEST_ROOT": str(root), **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout
    return {log.stem for log in root.glob("*/log/*.log")}


def test_a_unit_test_starts_none(tmp_path: Path) -> None:
    assert run_tests(tmp_path, "tests/aily/concurrency/test_loops.py") == set()
    assert not list(tmp_path.glob("*/postgres"))


@pytest.mark.skipif("REDIS_URL" in os.environ, reason="the server is not ours")
def test_the_first_connection_to_redis_starts_it(tmp_path: Path) -> None:
    test = "tests/aily/redis/test_rates.py::test_subjects_are_counted_apart"
    # With a database of its own, so that none is made for this test.
    assert run_tests(tmp_path, test, DATABASE_URL="postgres://127.0.0.1:1/none") == {"valkey"}
