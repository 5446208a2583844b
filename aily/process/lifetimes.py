"""Process lifetimes: no process outlives the one that started it, however that one ended."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterable, Sequence

import psutil

_PR_SET_PDEATHSIG = 1


def tied_to_parent(
    command: Sequence[str], death_signal: signal.Signals = signal.SIGTERM
) -> list[str]:
    """The command, arranged so that the kernel signals it when its parent dies. To the kernel that
    is the thread that starts it: start it from one that lasts.

    Without setpriv (util-linux; not on macOS) the command stays as it is: then only a kill -9 of
    the parent leaves it behind.
    """
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        return list(command)
    name = death_signal.name.removeprefix("SIG")
    return [setpriv, "--pdeathsig", name, "--", *command]


def die_with_parent(death_signal: signal.Signals = signal.SIGKILL) -> None:
    """Have the kernel signal this process when its parent dies. No effect outside Linux.

    For processes that a library forks, where `tied_to_parent` cannot get in between. Call it from
    the main thread. A parent that died before the call counts as dying now; multiprocessing tells
    its children who that was.
    """
    forked_by = multiprocessing.parent_process()
    parent_pid = os.getppid() if forked_by is None else forked_by.pid
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, death_signal, 0, 0, 0)
    if os.getppid() != parent_pid:
        os.kill(os.getpid(), death_signal)


def end_processes(processes: Iterable[psutil.Process], grace_seconds: float) -> None:
    """Ask the processes to end, and kill those that have not within the time."""
    waiting = [process for process in processes if _alive(process)]
    for process in waiting:
        _signal(process, _polite_signal(process))
    for process in _still_alive_after(waiting, grace_seconds):
        _signal(process, signal.SIGKILL)
    _still_alive_after(waiting, 5)


def _still_alive_after(processes: list[psutil.Process], seconds: float) -> list[psutil.Process]:
    deadline = time.monotonic() + seconds
    while (alive := [process for process in processes if _alive(process)]) and (
        time.monotonic() < deadline
    ):
        time.sleep(0.05)
    return alive


def _alive(process: psutil.Process) -> bool:
    """Whether it still runs. The first process of a container may never bury its dead."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _polite_signal(process: psutil.Process) -> signal.Signals:
    """SIGINT is PostgreSQL's fast shutdown; its SIGTERM would wait for clients to leave."""
    try:
        return signal.SIGINT if process.name() == "postgres" else signal.SIGTERM
    except psutil.NoSuchProcess:
        return signal.SIGTERM


def _signal(process: psutil.Process, number: signal.Signals) -> None:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        pass
