"""What the embedded servers have in common: privacy, readiness, an end with their parent."""

from __future__ import annotations

import signal
import stat
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from aily.embedded.postgres import EmbeddedPostgres
from aily.embedded.service import (
    EmbeddedServiceError,
    make_private,
    wait_until_ready,
)
from aily.embedded.valkey import EmbeddedValkey
from tests.waiting import wait_until


def test_a_directory_of_someone_else_is_refused(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to("/tmp")  # noqa: S108 - anyone's

    with pytest.raises(EmbeddedServiceError, match="another user"):
        make_private(link)


def test_an_open_directory_of_ours_is_closed(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)

    make_private(tmp_path)

    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o700


def test_a_server_that_never_answers_is_reported_with_its_log(tmp_path: Path) -> None:
    service = EmbeddedValkey(tmp_path)

    with pytest.raises(EmbeddedServiceError, match=r"valkey did not become ready.*the\.log"):
        wait_until_ready(service, tmp_path / "the.log", timeout_seconds=0.1)


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's help is Linux's")
@pytest.mark.parametrize("kind", [EmbeddedPostgres, EmbeddedValkey])
def test_a_server_ends_with_the_process_that_started_it(
    kind: type[EmbeddedPostgres | EmbeddedValkey], tmp_path: Path
) -> None:
    service = kind(tmp_path, durable=False)
    service.prepare()
    program = (
        "import subprocess, sys, time; "
        "print(subprocess.Popen(sys.argv[1:], stdout=2).pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, *service.command()],
        cwd=service.working_dir,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as starter:
        assert starter.stdout is not None
        server = psutil.Process(int(starter.stdout.readline()))
        wait_until_ready(service, tmp_path / "log", timeout_seconds=120)

        starter.send_signal(signal.SIGKILL)

    wait_until(
        lambda: not server.is_running() or server.status() == psutil.STATUS_ZOMBIE, "its end", 10
    )
