"""supervisord's configuration, as supervisor itself reads it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from supervisor.options import ServerOptions

from aily.embedded.addresses import log_dir, runtime_dir
from aily.launcher.supervision import Program, Supervisor
from tests.waiting import wait_until

_ODD = 'odd, 100% "quoted" 50%(done)s'


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    directory = tmp_path / "a b 100%"
    for path in (directory, runtime_dir(directory), log_dir(directory)):
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return directory


@pytest.fixture
def supervisor(data_dir: Path) -> Iterator[Supervisor]:
    script = "import sys, time; print(sys.argv[1], flush=True); time.sleep(60)"
    programs = [
        Program("first", ["python3", "-c", script, _ODD], priority=1, autostart=True),
        Program("later", ["python3", "-c", script, "later"], priority=2, processes=2),
        Program("last", ["python3", "-c", script, "last"], priority=3, deferred=True),
    ]
    supervisor = Supervisor(data_dir, programs)
    supervisor.start()
    yield supervisor
    supervisor.stop(20)
    assert not supervisor.running()


def _alive(supervisor: Supervisor) -> set[str]:
    return {state.name for state in supervisor.states() if state.pid}


def test_programs_start_in_their_turn_and_arguments_arrive_as_they_are(
    supervisor: Supervisor, data_dir: Path
) -> None:
    wait_until(lambda: _alive(supervisor) == {"first-0"}, "the first program")
    supervisor.start_programs(deferred=False)
    wait_until(lambda: _alive(supervisor) == {"first-0", "later-0", "later-1"}, "the later ones")
    supervisor.start_programs(deferred=True)
    wait_until(lambda: "last-0" in _alive(supervisor), "the deferred program")
    log = log_dir(data_dir) / "first-0.log"
    wait_until(lambda: log.exists() and log.read_text() == f"{_ODD}\n", "its output")


def test_a_shared_socket_is_one_for_all_processes_of_a_program(tmp_path: Path) -> None:
    program = Program("web", ["web"], priority=1, processes=2, shared_socket="127.0.0.1:8000")
    settings = program.settings(tmp_path)
    assert settings["socket"] == "tcp://127.0.0.1:8000"
    assert settings["numprocs"] == "2"
    file = tmp_path / "supervisord.conf"
    lines = [f"{key}={value}" for key, value in settings.items()]
    file.write_text("\n".join(["[supervisord]", "[fcgi-program:web]", *lines]))
    options = ServerOptions()
    options.realize(["-c", str(file)])
    [group] = options.process_group_configs
    assert [process.name for process in group.process_configs] == ["web-0", "web-1"]
