"""The lock files: what is installed is what requirements.txt allows, pinned and hashed."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from aily.launcher.programs import BASE_DIR

#: Each lock with the requirements that it was made of.
LOCKS = {
    "requirements.lock": ("requirements.txt",),
    "deploy/requirements-otel.lock": ("deploy/requirements-otel.txt",),
    "tests/requirements.lock": (
        "tests/requirements.txt",
        "requirements.txt",
        "deploy/requirements-otel.txt",
    ),
}
_PINNED = re.compile(
    r"^(\S+==\S+?)(?: ; (.+?))? \\\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)", re.MULTILINE
)
#: Machines that aily runs on.
_MACHINES = [
    {"sys_platform": "linux", "platform_machine": machine, "python_version": python}
    | {"python_full_version": f"{python}.9", "platform_python_implementation": "CPython"}
    | {"implementation_name": "cpython", "platform_system": "Linux", "os_name": "posix"}
    for machine in ("x86_64", "aarch64")
    for python in ("3.11", "3.12", "3.13", "3.14")
]


def _named(machine: dict[str, str]) -> tuple[str, str]:
    return machine["platform_machine"], machine["python_version"]


def required(file: str) -> list[Requirement]:
    lines = (BASE_DIR / file).read_text().splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith(("#", "-r"))]


def locked(lock: str, machine: dict[str, str]) -> dict[str, Version]:
    """What the lock installs on a machine."""
    found: dict[str, Version] = {}
    for pin, marker, _ in _PINNED.findall((BASE_DIR / lock).read_text()):
        requirement = Requirement(f"{pin}; {marker}" if marker else pin)
        if requirement.marker is None or requirement.marker.evaluate(machine):
            assert requirement.name not in found, f"{requirement.name} is locked twice"
            found[canonicalize_name(requirement.name)] = Version(pin.partition("==")[2])
    return found


@pytest.mark.parametrize("lock", LOCKS)
@pytest.mark.parametrize(
    "machine",
    _MACHINES,
    ids=lambda machine: f"{machine['platform_machine']}-{machine['python_version']}",
)
def test_a_lock_has_what_the_requirements_allow(lock: str, machine: dict[str, str]) -> None:
    """Run `make lock` after a change of requirements."""
    versions = locked(lock, machine)
    for file in LOCKS[lock]:
        for requirement in required(file):
            assert versions[canonicalize_name(requirement.name)] in requirement.specifier


@pytest.mark.parametrize("machine", _MACHINES[:1], ids=["linux"])
def test_all_locks_agree(machine: dict[str, str]) -> None:
    everything = locked("tests/requirements.lock", machine)
    for lock in LOCKS:
        assert locked(lock, machine).items() <= everything.items()


def test_what_is_no_longer_required_is_no_longer_locked() -> None:
    """uv notes which packages a requirements file names itself: `# via -r requirements.txt`."""
    lock = "tests/requirements.lock"
    named = {
        canonicalize_name(block.partition("==")[0])
        for block in re.split(r"\n(?=\S)", (BASE_DIR / lock).read_text())
        if re.search(r"^ +# .*-r \S+$", block, re.MULTILINE)
    }
    wanted = [requirement for file in LOCKS[lock] for requirement in required(file)]
    assert named == {canonicalize_name(requirement.name) for requirement in wanted}


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_is_nothing_but_pins_with_hashes(lock: str) -> None:
    """No address of an index, no path of a machine."""
    text = (BASE_DIR / lock).read_text()
    rest = [line for line in _PINNED.sub("", text).splitlines() if line.strip()]
    assert [line for line in rest if not line.lstrip().startswith("#")] == []
    comments = "\n".join(rest)
    assert "://" not in comments
    assert not re.search(r"(?<![\w.])/\w", comments)


def test_pip_takes_a_lock_with_its_hashes_and_finds_everything_installed() -> None:
    """Nothing is downloaded: what is installed already satisfies it."""
    result = subprocess.run(
        [
            *(sys.executable, "-m", "pip", "install", "--dry-run", "--no-index", "--no-deps"),
            *("--require-hashes", "--quiet", "-r", str(Path(BASE_DIR) / "requirements.lock")),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
