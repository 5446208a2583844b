"""`make quick`: run the tests that a change touches, and say why each is among them.

What changed is what differs from `main` (or `--base`), committed or not. A changed module picks the
test file that mirrors it and those that import it; where neither exists, the test files that are
the fewest imports away. End-to-end tests run only when they changed themselves; `make test` runs
all tests.

pytest-testmon would know more exactly what a test runs. But it traces each line of each run, and
sees nothing of other processes.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterable
from pathlib import PurePosixPath

import grimp

from aily.launcher.programs import BASE_DIR

_PACKAGES = ("aily", "accounts", "chat", "tests")
#: Fast, and about everything that is written down.
_ALWAYS = "tests/architecture"
#: These start whole installations.
_SLOW = ("tests/e2e/", "tests/chaos/", "tests/deploy/", "tests/load/")


def changed_files(base: str) -> list[str]:
    """Files that differ from `base`, and new ones that git does not ignore."""
    return _git("diff", "--name-only", base) + _git("ls-files", "--others", "--exclude-standard")


def import_graph() -> grimp.ImportGraph:
    """Which module imports which, the tests among them."""
    return grimp.build_graph(*_PACKAGES, cache_dir=None)


def pick(changed: Iterable[str], graph: grimp.ImportGraph) -> dict[str, str]:
    """Test files and directories, each with the reason why it is among them."""
    picked = {_ALWAYS: "always"}
    for file in changed:
        for test, reason in _tests_of(file, graph).items():
            picked.setdefault(test, reason)
    return picked


def _tests_of(file: str, graph: grimp.ImportGraph) -> dict[str, str]:
    path = PurePosixPath(file)
    if path.name == "conftest.py":
        return {str(path.parent): "its conftest.py changed"}
    if path.name.startswith("test_"):
        return {file: "it changed"} if (BASE_DIR / file).exists() else {}
    if path.suffix == ".py" and path.parts[0] in _PACKAGES:
        return _tests_of_module(path, graph)
    if path.parts[0] == "static":
        return {"tests/js": f"{file} changed"}
    if path.parts[0] == "deploy":
        return {"tests/deploy/test_files.py": f"{file} changed"}
    # A Lua script, a template, a catalogue: the tests of the package that it belongs to.
    mirror = next(filter(_holds_tests, ("tests" / parent for parent in path.parents)), None)
    return {} if mirror is None else {str(mirror): f"{file} changed"}


def _holds_tests(directory: PurePosixPath) -> bool:
    return len(directory.parts) > 1 and any((BASE_DIR / directory).glob("test_*.py"))


def _tests_of_module(path: PurePosixPath, graph: grimp.ImportGraph) -> dict[str, str]:
    name = ".".join(path.with_suffix("").parts).removesuffix(".__init__")
    picked = {}
    mirror = f"tests/{path.parent}/test_{path.name}"
    if (BASE_DIR / mirror).exists():
        picked[mirror] = f"mirrors {name}"
    if name in graph.modules:
        for test in _nearest_tests(name, graph, only_direct=bool(picked)):
            picked.setdefault(test, f"imports {name}")
    return picked


def _nearest_tests(name: str, graph: grimp.ImportGraph, *, only_direct: bool) -> list[str]:
    """Test files that import the module; if there are none, those the fewest imports away."""
    seen, modules = {name}, {name}
    while modules:
        modules = {user for module in modules for user in _users(module, graph)} - seen
        seen |= modules
        tests = [test for module in sorted(modules) if (test := _test_file(module))]
        if tests or only_direct:
            return tests
    return []


def _users(module: str, graph: grimp.ImportGraph) -> set[str]:
    return graph.find_modules_that_directly_import(module)


def _test_file(module: str) -> str | None:
    file = module.replace(".", "/") + ".py"
    is_test = file.rpartition("/")[2].startswith("test_")
    return file if is_test and not file.startswith(_SLOW) else None


def _git(*arguments: str) -> list[str]:
    command = ["git", "-C", str(BASE_DIR), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()


def default_base() -> str:
    """Where this branch left `main`; on `main` itself that is the last commit."""
    for branch in ("main", "origin/main"):
        try:
            return _git("merge-base", "HEAD", branch)[0]
        except subprocess.CalledProcessError:
            continue
    return "HEAD"


def main() -> None:
    parser = argparse.ArgumentParser(prog="make quick", description=__doc__)
    parser.add_argument("--base", help="commit to compare with (default: where main was left)")
    options, pytest_arguments = parser.parse_known_args()
    changed = changed_files(options.base or default_base())
    picked = pick(changed, import_graph())
    sys.stdout.writelines(f"{test}: {reason}\n" for test, reason in sorted(picked.items()))
    sys.stdout.flush()
    command = [sys.executable, "-m", "pytest", *sorted(picked), *pytest_arguments]
    sys.exit(subprocess.run(command, cwd=BASE_DIR, check=False).returncode)


if __name__ == "__main__":
    main()
