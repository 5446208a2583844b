"""`make quick`: what it picks for a change, and why."""

from __future__ import annotations

import subprocess
from pathlib import Path

import grimp
import pytest

from tests import quick

ALWAYS = {"tests/architecture": "always"}


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    return quick.import_graph()


def test_a_module_picks_its_mirror_and_what_imports_it(graph: grimp.ImportGraph) -> None:
    picked = quick.pick(["aily/concurrency/jobs.py"], graph)
    assert picked["tests/aily/concurrency/test_jobs.py"] == "mirrors aily.concurrency.jobs"
    assert not any(test.startswith("tests/accounts") for test in picked)


def test_a_module_that_no_test_imports_picks_the_nearest_tests(graph: grimp.ImportGraph) -> None:
    picked = quick.pick(["chat/llm/usage.py"], graph)
    assert len(picked) > len(ALWAYS)
    assert set(picked.values()) == {"always", "imports chat.llm.usage"}


def test_a_helper_of_tests_picks_those_that_use_it(graph: grimp.ImportGraph) -> None:
    picked = quick.pick(["tests/locks.py"], graph)
    assert picked["tests/chat/test_flights.py"] == "imports tests.locks"


@pytest.mark.parametrize(
    ("file", "test"),
    [
        ("tests/chat/scheduler/test_ready.py", "tests/chat/scheduler/test_ready.py"),
        ("tests/e2e/test_cancel.py", "tests/e2e/test_cancel.py"),
        ("tests/chat/scheduler/conftest.py", "tests/chat/scheduler"),
        ("chat/scheduler/lua/claim.lua", "tests/chat/scheduler"),
        ("static/js/main.js", "tests/js"),
        ("deploy/nginx/nginx.conf", "tests/deploy/test_files.py"),
    ],
)
def test_any_other_file_picks_what_is_about_it(
    graph: grimp.ImportGraph, file: str, test: str
) -> None:
    assert quick.pick([file], graph).keys() == {"tests/architecture", test}


@pytest.mark.parametrize("file", ["README.md", "tests/chat/test_gone.py", "Makefile"])
def test_a_text_or_a_test_that_is_gone_picks_nothing_more(
    graph: grimp.ImportGraph, file: str
) -> None:
    assert quick.pick([file], graph) == ALWAYS


def test_changes_are_those_since_a_commit_and_new_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quick, "BASE_DIR", tmp_path)

    def git(*arguments: str) -> None:
        identity = ("-c", "user.name=a", "-c", "user.email=a@example.org")
        subprocess.run(["git", "-C", tmp_path, *identity, *arguments], check=True)

    git("init", "--quiet", "--initial-branch", "main")
    (tmp_path / ".gitignore").write_text("ignored\n")
    (tmp_path / "kept").touch()
    git("add", ".")
    git("commit", "--quiet", "--message", "first")
    git("switch", "--quiet", "--create", "branch")
    (tmp_path / "committed").touch()
    git("add", ".")
    git("commit", "--quiet", "--message", "second")
    for name in ("new", "ignored"):
        (tmp_path / name).touch()
    (tmp_path / "kept").write_text("changed")
    assert sorted(quick.changed_files(quick.default_base())) == ["committed", "kept", "new"]
    assert sorted(quick.changed_files("HEAD")) == ["kept", "new"]
