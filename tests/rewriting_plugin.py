"""pytest plugin: the first run of a checkout compiles each test module once, not in each process.

pytest rewrites the asserts of all test modules and keeps the result in `__pycache__`. That takes
7 s of CPU, and five processes of pytest-xdist that begin at once would all do it.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from _pytest.assertion.rewrite import (
    PYC_TAIL,
    _read_pyc,
    _rewrite_test,
    _write_pyc,
    assertstate_key,
    get_cache_dir,
    try_makedirs,
)


@pytest.hookimpl(tryfirst=True)
def pytest_collection(session: pytest.Session) -> None:
    """Compile this process's share before it collects; the others compile theirs meanwhile."""
    worker = getattr(session.config, "workerinput", None)
    if worker is None or sys.dont_write_bytecode:
        return
    number = int(worker["workerid"].removeprefix("gw"))
    files = sorted((session.config.rootpath / "tests").rglob("test_*.py"))
    for file in files[number :: worker["workercount"]]:
        _compile(file, session.config)


def _compile(file: Path, config: pytest.Config) -> None:
    directory = get_cache_dir(file)
    compiled = directory / (file.name.removesuffix(".py") + PYC_TAIL)
    if _read_pyc(file, compiled) is None and try_makedirs(directory):
        source_hash, code = _rewrite_test(file, config)
        _write_pyc(config.stash[assertstate_key], code, source_hash, compiled)
