"""`make run` from outside: what it refuses, survives, and that it leaves nothing behind."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import psutil
import psycopg
import pytest
import redis
from django.core.management import CommandError, call_command
from pytest_django import Settings

from aily.embedded import database_url, redis_url
from aily.embedded.addresses import runtime_dir
from aily.launcher.programs import BASE_DIR
from aily.launcher.readiness import readiness
from aily.launcher.scaling import Scaler
from tests.launched import DEADLINE_SECONDS, Launched, launched, wait_for_ready_line, wait_until
from tests.ports import free_ports
from tests.prepared import copy_assets, copy_cluster

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the kernel's help is Linux's")


@pytest.fixture(scope="module")
def launcher(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launched]:
    """A running installation whose parts may be killed; the last of its tests ends it."""
    data_dir = tmp_path_factory.mktemp("running")
    # Migrations take most of a first start; what they make is that of every other test.
    copy_cluster(data_dir)
    copy_assets(data_dir)
    with launched(data_dir) as running:
        wait_for_ready_line(running)
        yield running


def test_a_taken_port_is_reported_before_anything_starts(tmp_path: Path) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        launched(tmp_path, taken.getsockname()[1]) as launcher,
    ):
        assert launcher.process.wait(DEADLINE_SECONDS) == 1

        expected = f"port {launcher.port} is already in use; choose another with PORT="
        assert expected in launcher.output
        assert not (tmp_path / "postgres").exists()


def test_a_second_launcher_on_the_same_data_is_refused(launcher: Launched) -> None:
    with launched(launcher.data_dir) as second:
        assert second.process.wait(DEADLINE_SECONDS) == 1

        assert f"aily already runs from {launcher.data_dir}" in second.output
    assert launcher.is_ready()


@pytest.mark.parametrize(
    "words",
    [
        "servers.daphne",
        "-m dramatiq",
        *(pytest.param(words, marks=pytest.mark.slow) for words in ("aily.simulator", "crontab")),
    ],
)
def test_a_killed_process_is_started_again(launcher: Launched, words: str) -> None:
    wait_until(lambda: launcher.matching(words), f"{words} does not run")
    before = {process.pid for process in launcher.matching(words)}
    for process in launcher.matching(words):
        process.kill()

    def replaced() -> bool:
        now = {process.pid for process in launcher.matching(words)}
        return bool(now) and not now & before

    wait_until(replaced, f"{words} did not come back")
    wait_until(launcher.is_ready, "web did not come back")


def test_a_killed_dramatiq_master_takes_its_child_along(launcher: Launched) -> None:
    def workers() -> list[tuple[psutil.Process, psutil.Process]]:
        """Pairs of a master and its child."""
        known = {process.pid: process for process in launcher.matching("-m dramatiq")}
        return [(known[p.ppid()], p) for p in known.values() if p.ppid() in known]

    wait_until(workers, "no worker")
    master, child = workers()[0]

    master.kill()

    wait_until(lambda: child not in launcher.processes(), "the orphan lives on")


def test_killed_servers_come_back_with_their_data(launcher: Launched) -> None:
    with psycopg.connect(database_url(launcher.data_dir)) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS launcher_test AS SELECT 42 AS answer")
    for words in ("bin/postgres -D", "valkey-server"):
        for process in launcher.matching(words):
            process.kill()

    def answer() -> object:
        try:
            with psycopg.connect(database_url(launcher.data_dir)) as connection:
                return connection.execute("SELECT answer FROM launcher_test").fetchone() == (42,)
        except psycopg.OperationalError:
            return False

    def pong() -> object:
        try:
            with redis.Redis.from_url(redis_url(launcher.data_dir, 0)) as client:
                return client.ping()
        except redis.RedisError:
            return False

    wait_until(answer, "PostgreSQL did not come back")
    wait_until(pong, "Valkey did not come back")
    wait_until(launcher.is_ready, "web did not come back")


def manage(launcher: Launched, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "AILY_DATA_DIR": str(launcher.data_dir),
        "DATABASE_URL": "",
        "REDIS_URL": "",
    }
    return subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=BASE_DIR,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def pids_of_workers(launcher: Launched) -> set[int]:
    """Of the Dramatiq processes that claim tasks."""
    leased = "SELECT pid FROM chat_worker WHERE NOT is_dead AND lease_until >= now()"
    with psycopg.connect(database_url(launcher.data_dir)) as connection:
        return {pid for (pid,) in connection.execute(leased)}


def masters(launcher: Launched, words: str) -> list[psutil.Process]:
    known = {process.pid for process in launcher.matching(words)}
    return [process for process in launcher.matching(words) if process.ppid() not in known]


def scale(settings: Settings, data_dir: Path, *arguments: str) -> str:
    settings.DATA_DIR = data_dir
    out = StringIO()
    call_command("scale", *arguments, stdout=out)
    return out.getvalue()


def test_it_is_scaled_while_it_runs(launcher: Launched, settings: Settings) -> None:
    directory = launcher.data_dir
    scaled = scale(settings, directory, "--workers", "2", "--web", "2")
    assert scaled == "worker: 1 -> 2\nweb: 1 -> 2\n"
    wait_until(lambda: len(masters(launcher, "-m dramatiq")) == 2, "no second worker")
    wait_until(lambda: len(masters(launcher, "servers.daphne")) == 2, "no second web process")
    assert scale(settings, directory, "--web", "1") == "web: 2 -> 1\n"
    wait_until(lambda: len(masters(launcher, "servers.daphne")) == 1, "two web processes")
    wait_until(launcher.is_ready, "the first web process does not answer")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "Give --workers or --web"),
        (("--web", "0"), "There must be 1 web processes or more"),
        (("--workers", "-1"), "There must be 0 worker processes or more"),
        (("--workers", "999"), "worker processes at most"),
    ],
)
def test_scaling_has_bounds(
    launcher: Launched, settings: Settings, arguments: tuple[str, ...], message: str
) -> None:
    with pytest.raises(CommandError, match=message):
        scale(settings, launcher.data_dir, *arguments)


def test_without_make_run_there_is_nothing_to_scale(tmp_path: Path, settings: Settings) -> None:
    with pytest.raises(CommandError, match="make run does not run from"):
        scale(settings, tmp_path, "--workers", "2")


@pytest.mark.slow
def test_a_drained_worker_stays_down_until_it_is_scaled_up_again(
    launcher: Launched, settings: Settings
) -> None:
    supervisor = Scaler(launcher.data_dir)
    scale(settings, launcher.data_dir, "--workers", "2")
    wait_until(lambda: supervisor.running("worker") == 2, "the second worker does not run")
    wait_until(lambda: len(pids_of_workers(launcher)) == 2, "no lease of the second worker")
    before = pids_of_workers(launcher)
    drained = min(before)
    ended = manage(launcher, "drain", f"{socket.gethostname()}:{drained}", "--wait")
    assert ended.stdout.endswith("all have stopped\n"), ended.stderr
    wait_until(lambda: supervisor.running("worker") == 1, "it does not end")
    wait_until(lambda: len(masters(launcher, "-m dramatiq")) == 1, "its master does not end")
    assert pids_of_workers(launcher) == before - {drained}
    assert scale(settings, launcher.data_dir, "--workers", "2") == "worker: 1 -> 2\n"
    wait_until(lambda: len(pids_of_workers(launcher)) == 2, "it does not come back")


@pytest.mark.slow
def test_a_launcher_killed_outright_blocks_no_next_one_whose_stop_leaves_nothing(
    launcher: Launched,
) -> None:
    """The last test of the module's launcher, which it ends."""
    with psycopg.connect(database_url(launcher.data_dir)) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    launcher.process.kill()
    launcher.process.wait()

    with launched(launcher.data_dir, launcher.port) as second:
        wait_for_ready_line(second)

        daemons = second.matching("aily.launcher.supervisord")
        # What it has just forked still has its command line.
        parents = {process.ppid() for process in daemons} - {process.pid for process in daemons}
        assert parents == {second.process.pid}
        with psycopg.connect(database_url(launcher.data_dir)) as connection:
            assert connection.execute("SELECT answer FROM kept").fetchone() == (42,)
        second.process.send_signal(signal.SIGINT)
        assert second.process.wait(DEADLINE_SECONDS) == 0
        assert second.processes() == []


@pytest.mark.slow
def test_a_killed_supervisord_ends_the_launcher_and_all_its_processes(launcher: Launched) -> None:
    # On data that is prepared already, and without a simulator: quick to start.
    with launched(launcher.data_dir, DEEPSEEK_API_KEY="unused") as another:
        wait_for_ready_line(another)
        for process in another.matching("aily.launcher.supervisord"):
            process.kill()

        assert another.process.wait(DEADLINE_SECONDS) == 1
        assert "supervisord ended unexpectedly" in another.output
        # Grandchildren notice a moment later that their parent has ended.
        wait_until(lambda: not another.processes(), "a process was left")


def test_a_stop_during_the_start_leaves_nothing(tmp_path: Path) -> None:
    with launched(tmp_path) as launcher:
        wait_until(lambda: launcher.matching("bin/postgres"), "PostgreSQL was not started")
        launcher.process.terminate()

        assert launcher.process.wait(DEADLINE_SECONDS) == 0
        assert launcher.processes() == []
        assert "ready http" not in launcher.output


@pytest.mark.slow
def test_a_failing_step_shows_its_log_and_leaves_nothing(tmp_path: Path) -> None:
    nowhere = f"postgres://aily@/aily?host={tmp_path}"
    with launched(tmp_path, DATABASE_URL=nowhere) as launcher:
        assert launcher.process.wait(DEADLINE_SECONDS) == 1

        assert "preparing the database failed" in launcher.output
        assert "nothing answers at" in launcher.output.split("--- last lines of ")[1]
        assert launcher.processes() == []


@pytest.mark.slow
def test_it_starts_from_nothing(tmp_path: Path) -> None:
    with launched(tmp_path) as launcher:
        wait_for_ready_line(launcher)


@pytest.mark.slow
@pytest.mark.parametrize("server", ["daphne", "uvicorn"])
def test_it_listens_on_an_ipv6_address(server: str, tmp_path: Path) -> None:
    port = free_ports(3)[0]
    variables = {"HOST": "[::1]", "METRICS_HOST": "::1", "METRICS_PORT": str(port + 2)}
    copy_cluster(tmp_path)
    copy_assets(tmp_path)
    with launched(tmp_path, port, WEB_SERVER=server, **variables) as launcher:
        wait_until(lambda: "logs: " in launcher.output or launcher.process.poll(), "not ready")
        assert f"\nready http://[::1]:{port}\n" in launcher.output, launcher.output
        assert "login: demo / demo" in launcher.output
        assert readiness("::1", port) == ""
        wait_until(lambda: readiness("::1", port + 2) == "", "no exporter")

        configuration = str(runtime_dir(tmp_path) / "supervisord.conf")
        status = subprocess.run(
            [sys.executable, "-m", "supervisor.supervisorctl", "-c", configuration, "status"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert re.search(r"web:web-0\s+(RUNNING|STARTING)", status.stdout), status
