"""The key of an installation that was given none."""

from __future__ import annotations

import os
import secrets
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from aily.secrets.secret_key import load_or_create_secret_key


def test_it_is_made_once_and_readable_by_its_owner_alone(tmp_path: Path) -> None:
    data_dir = tmp_path / "not" / "yet" / "there"
    key = load_or_create_secret_key(data_dir)
    assert len(key) >= 50
    assert load_or_create_secret_key(data_dir) == key
    assert stat.S_IMODE((data_dir / "secret_key").stat().st_mode) == 0o600
    assert [path.name for path in data_dir.iterdir()] == ["secret_key"]


def test_another_installation_has_another(tmp_path: Path) -> None:
    assert load_or_create_secret_key(tmp_path / "a") != load_or_create_secret_key(tmp_path / "b")


def test_processes_that_start_at_once_agree(tmp_path: Path) -> None:
    """All have seen that there is none before the first has written its own."""
    starters = 8
    barrier, ids = threading.Barrier(starters), iter(range(starters))
    token_urlsafe = secrets.token_urlsafe

    def draw(size: int) -> str:
        barrier.wait(10)
        return token_urlsafe(size)

    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(starters) as starting:
        patch.setattr(secrets, "token_urlsafe", draw)
        patch.setattr(os, "getpid", lambda: next(ids))
        found = list(starting.map(load_or_create_secret_key, [tmp_path] * starters))
    assert len(set(found)) == 1
    assert found[0] == load_or_create_secret_key(tmp_path)
