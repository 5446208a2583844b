"""No process outlives the one that started it, and each is ended politely first."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

import psutil
import pytest

from aily.launcher.programs import BASE_DIR
from aily.process.lifetimes import end_processes, tied_to_parent
from tests.starting import start_process
from tests.waiting import wait_until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the kernel's help is Linux's")

_SLEEP = [sys.executable, "-c", "import time; print(1, flush=True); time.sleep(60)"]
_ECHO = [sys.executable, "-c", "print(1, flush=True); print(input())"]
_STUBBORN = [
    *_SLEEP[:2],
    "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + _SLEEP[2],
]


def has_ended(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def started(command: list[str]) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline()
    return process


@pytest.fixture
def ended() -> Iterator[list[subprocess.Popen[bytes]]]:
    processes: list[subprocess.Popen[bytes]] = []
    yield processes
    for process in processes:
        process.kill()
        process.communicate()


def test_a_tied_process_ends_with_its_parent() -> None:
    command = tied_to_parent(_SLEEP, signal.SIGKILL)
    # It writes once it runs: until then the kernel does not know what it is to do.
    script = (
        f"import os, subprocess; child = subprocess.Popen({command!r}, stdout=subprocess.PIPE); "
        "child.stdout.readline(); print(child.pid, flush=True); os.kill(os.getpid(), 9)"
    )
    parent = subprocess.run(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, check=False
    )
    assert parent.returncode == -signal.SIGKILL
    pid = int(parent.stdout)
    wait_until(lambda: has_ended(pid), "the end of the process")


def test_what_a_test_starts_outlives_the_thread_that_asked_for_it(
    ended: list[subprocess.Popen[bytes]],
) -> None:
    command = tied_to_parent(_ECHO, signal.SIGKILL)

    def start() -> None:
        process = start_process(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        ended.append(process)
        # Until then the kernel does not know what it is to do.
        assert process.stdout is not None
        assert process.stdout.readline() == b"1\n"

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    output, _ = ended[0].communicate(b"alive", timeout=30)
    assert (output, ended[0].returncode) == (b"alive\n", 0)


def test_a_forked_process_ends_with_its_parent() -> None:
    script = (
        "import multiprocessing, os, time\n"
        "from aily.process.lifetimes import die_with_parent\n"
        "def work(pipe):\n"
        "    die_with_parent()\n"
        "    pipe.send(os.getpid())\n"
        "    time.sleep(60)\n"
        "ours, theirs = multiprocessing.Pipe()\n"
        "multiprocessing.get_context('fork').Process(target=work, args=[theirs]).start()\n"
        "print(ours.recv(), flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    parent = subprocess.run(
        [sys.executable, "-c", script], cwd=BASE_DIR, stdout=subprocess.PIPE, text=True, check=False
    )
    wait_until(lambda: has_ended(int(parent.stdout)), "the end of the process")


def test_a_polite_process_is_not_killed_and_a_stubborn_one_is(
    ended: list[subprocess.Popen[bytes]],
) -> None:
    polite, stubborn = started(_SLEEP), started(_STUBBORN)
    ended += polite, stubborn
    end_processes([psutil.Process(process.pid) for process in ended], grace_seconds=0.5)
    assert polite.wait(10) == -signal.SIGTERM
    assert stubborn.wait(10) == -signal.SIGKILL


def test_a_process_that_has_ended_is_left_alone(ended: list[subprocess.Popen[bytes]]) -> None:
    process = started(_SLEEP)
    ended.append(process)
    handle = psutil.Process(process.pid)
    process.kill()
    process.wait()
    end_processes([handle], grace_seconds=0)
