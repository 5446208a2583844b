"""What a new maintainer relies on: versions, checks, and instructions that are true."""

from __future__ import annotations

import re
import tomllib
from typing import Any

import pytest
import yaml

from aily.launcher.programs import BASE_DIR

CONTRIBUTING = (BASE_DIR / "CONTRIBUTING.md").read_text()
MAKEFILE = (BASE_DIR / "Makefile").read_text()
_RELEASE = re.compile(r"^## \[(\d+\.\d+\.\d+)\](?: - (\d{4}-\d{2}-\d{2}))?$", re.MULTILINE)


def test_the_version_is_that_of_the_latest_release_in_the_changelog() -> None:
    project = tomllib.loads((BASE_DIR / "pyproject.toml").read_text())["project"]
    releases = _RELEASE.findall((BASE_DIR / "CHANGELOG.md").read_text())
    assert releases[0][0] == project["version"]
    assert releases[0][1], "it has a date"


def _workflow(name: str) -> Any:
    return yaml.safe_load((BASE_DIR / f".github/workflows/{name}.yml").read_text())


def _commands(workflow: Any) -> set[str | None]:
    return {step.get("run") for job in workflow["jobs"].values() for step in job["steps"]}


def test_the_workflow_calls_the_commands_that_everybody_calls() -> None:
    assert {"make check", "make test"} <= _commands(_workflow("ci"))


def test_the_workflows_run_tests_in_one_container_that_may_mount_disks() -> None:
    """Quick tests fill up small disks as well, and with CI set none of them is skipped."""
    container = _workflow("ci")["jobs"]["test"]["container"]
    assert "--privileged" in container["options"].split()
    assert _workflow("slow")["jobs"]["slow"]["container"] == container


def test_every_slow_test_is_run_at_night() -> None:
    workflow = _workflow("slow")
    assert 'make slow ARGS="${{ matrix.part }}"' in _commands(workflow)
    run: set[str] = set()
    for part in workflow["jobs"]["slow"]["strategy"]["matrix"]["part"]:
        first, *left_out = part.split(" --ignore ")
        files = {str(path.relative_to(BASE_DIR)) for path in (BASE_DIR / first).rglob("test_*.py")}
        run |= {file for file in files if not file.startswith(tuple(left_out))}
    tests = BASE_DIR / "tests"
    assert run == {str(path.relative_to(BASE_DIR)) for path in tests.rglob("test_*.py")}


def test_hooks_before_a_commit_run_the_locked_tools_and_what_make_check_runs() -> None:
    hooks = yaml.safe_load((BASE_DIR / ".pre-commit-config.yaml").read_text())["repos"]
    assert [repository["repo"] for repository in hooks] == ["local"]
    for hook in hooks[0]["hooks"]:
        tool, *words = hook["entry"].split()
        assert tool.startswith(".venv/bin/"), "not of another version"
        assert f"$(BIN)/{' '.join([tool.removeprefix('.venv/bin/'), *words[:1]])}" in MAKEFILE


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`([\w.]+/[\w./]*)`", CONTRIBUTING))))
def test_contributing_names_what_is_there(path: str) -> None:
    if path != "var/test/":
        assert (BASE_DIR / path).exists()


def test_contributing_names_commands_that_there_are() -> None:
    named = set(re.findall(r"`?make ([a-z]+)", CONTRIBUTING)) - {"alone"}
    assert named >= {"check", "test", "quick", "lock", "fuzz"}
    targets = set(re.findall(r"^([a-z]+):", MAKEFILE, re.MULTILINE))
    assert named - targets == set()


@pytest.mark.parametrize("name", ["CONTRIBUTING.md", "SECURITY.md"])
def test_no_address_is_made_up(name: str) -> None:
    assert not re.search(r"[\w.]+@[\w.]+\.\w+", (BASE_DIR / name).read_text())
