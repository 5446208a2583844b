"""`make systemd`: the shipped units under a real systemd, installed as deploy/README.md says.

A Debian is booted in a container (tests/deploy/machine.py). Its operator runs the commands of the
README's chapter, word by word; then processes are killed, PostgreSQL comes late, everything is
restarted under load, the machine boots anew, its disk fills up, and all is stopped. Needs root,
debootstrap and systemd-nspawn; elsewhere it says that it was skipped. Exits with 1 when anything
went wrong.
"""

from __future__ import annotations

import asyncio
import re
import signal
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from aily.launcher.programs import BASE_DIR
from tests.chaos.network import in_own_network, require
from tests.client import RestClient
from tests.deploy.deployment import DEPLOY, SEED
from tests.deploy.full_machine import FullDisk
from tests.deploy.machine import CHECKOUT, WHEELS, Machine, download_wheels, install_base
from tests.deploy.rolling import roll
from tests.waiting import wait_until

WEB = ("aily-web@8001", "aily-web@8002")
WORKERS = ("aily-worker@1", "aily-worker@2")
UNITS = ("aily-prepare", "aily-scheduler", "aily-exporter", *WEB, *WORKERS)
#: systemd's own words are "OK" up to 4.9; ours is 1.3.
MOST_EXPOSED = 2.0
_PATIENCE_SECONDS = 90
_PORT = 8100
_ENVIRONMENT = f"""\
SECRET_KEY=only for this test, and long enough to be taken for a real one
DATABASE_URL=postgres://aily:password@127.0.0.1:5432/aily
REDIS_URL=redis://127.0.0.1:6379/0
CACHE_URL=redis://127.0.0.1:6379/2
ALLOWED_HOSTS=aily.example.com,localhost
HTTPS=true
BEHIND_PROXY=true
EMAIL_URL=consolemail://
SIMULATOR_URL=http://127.0.0.1:{_PORT}
"""
#: What differs from the operator's: the checkout is here, and packages come without a network.
_CLONED = ("git clone ... /opt/aily", f"cp -r {CHECKOUT} /opt/aily")
_PIP = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": WHEELS, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
_CERTIFICATE = """
install -d /etc/aily/tls
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 \
    -keyout /etc/aily/tls/tls.key -out /etc/aily/tls/tls.crt -subj /CN=aily.example.com \
    -addext subjectAltName=DNS:aily.example.com,DNS:localhost
"""


def main() -> None:
    if not sys.argv[1:]:
        require("debootstrap", "systemd-nspawn", packages="debootstrap systemd-container")
        # While there is a network still.
        install_base()
        download_wheels()
    in_own_network("tests.deploy.on_systemd", ["booted"])
    # So that the machine ends with us.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    root = BASE_DIR / "var" / "systemd"
    with (
        tempfile.TemporaryDirectory(prefix="machine-", dir=root) as directory,
        Machine(Path(directory)) as machine,
    ):
        problems = Installation(machine).judge()
    print(f"{len(problems)} problems" if problems else "everything came back, nothing was lost")
    sys.exit(bool(problems))


def blocks(chapter: str) -> list[str]:
    """The indented commands below a heading of deploy/README.md."""
    text = (DEPLOY / "README.md").read_text().split(f"## {chapter}\n")[1].split("\n## ")[0]
    found = re.findall(r"(?:^    .*\n)+", text, flags=re.MULTILINE)
    return [re.sub(r"^    ", "", command, flags=re.MULTILINE) for command in found]


class Installation:
    """aily on a machine, from the operator's and from a client's side."""

    base_url = "https://localhost"

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.keys: list[str] = []
        self._task_id = ""

    @property
    def trust(self) -> ssl.SSLContext:
        certificate = (self.machine.root / "etc/aily/tls/tls.crt").read_text()
        return ssl.create_default_context(cadata=certificate)

    def _client(self) -> RestClient:
        return RestClient(self.base_url, self.keys[0], self.trust)

    def judge(self) -> list[str]:
        """Every step, each after the one before. Returns a line for everything that went wrong."""
        steps: tuple[tuple[str, Callable[[], list[str]]], ...] = (
            ("installed", self._install),
            ("a task ends", self._run_task),
            ("killed processes", self._kill),
            ("a late PostgreSQL", self._start_before_postgresql),
            ("a rolling restart under load", self._restart_under_load),
            ("a reboot", self._reboot),
            ("a full disk", self._fill_disk),
            ("a stop", self._stop),
            ("exposure", self._exposure),
        )
        problems = []
        for name, step in steps:
            began = time.monotonic()
            found = step()
            print(f"{name}: {time.monotonic() - began:.0f} s", *found, sep="\n  ", flush=True)
            problems += found
        return problems

    # --- The steps ------------------------------------------------------------------------------
    def _install(self) -> list[str]:
        servers, commands, nginx, *_ = blocks("One machine with systemd")
        # The packages are there; what is to be done with them is not.
        self.machine.run("\n".join(servers.splitlines()[1:]).replace("...", "password"))
        installing, starting = commands.replace(*_CLONED).split("cp -r deploy/systemd", 1)
        self.machine.run(installing, environment=_PIP)
        self.machine.write("/etc/aily/aily.env", _ENVIRONMENT)
        self.machine.run(f"cd /opt/aily && cp -r deploy/systemd{starting}")
        self.machine.run(_CERTIFICATE)
        self.machine.run(f"cd /opt/aily\n{nginx}")
        found = self._not_active()
        self._start_simulator()
        seeded = self.machine.run(
            "systemd-run --quiet --pipe --wait --collect --unit=aily-manage"
            f" /opt/aily/deploy/start.sh shell --verbosity 0 --command '{SEED}'"
        )
        self.keys = seeded.splitlines()[-1].split()
        return found

    def _start_simulator(self) -> None:
        command = f"/opt/aily/deploy/start.sh simulator --port {_PORT}"
        self.machine.run(f"systemd-run --quiet --unit=aily-simulator {command}")

    def _run_task(self) -> list[str]:
        async def run() -> list[str]:
            async with self._client() as rest:
                self._task_id = await rest.submit("Under systemd [sim:latency=0,tokens=20,tps=0]")
                end = (await rest.follow(self._task_id)).types[-1]
                return [] if end == "task.completed" else [f"it ended with {end}"]

        return asyncio.run(run())

    def _kill(self) -> list[str]:
        """More often than systemd by itself would start a unit again in ten seconds."""
        for unit in [WEB[0], *[WORKERS[0]] * 7, "aily-scheduler", "aily-exporter"]:
            before = self._main_process(unit)
            self.machine.run(f"systemctl kill --signal=KILL {unit}")
            self._wait(partial(self._is_another, unit, before))
        return self._not_active() + self._run_task()

    def _start_before_postgresql(self) -> list[str]:
        found = self._stop() + self._is_refused()
        self.machine.run("systemctl stop postgresql redis-server")
        self.machine.run("systemctl start --no-block aily.target")
        self._wait(lambda: "trying again" in self.machine.run("journalctl --unit=aily-prepare"))
        self.machine.run("systemctl start postgresql redis-server")
        found += self._not_active()
        self._start_simulator()
        return found + self._run_task()

    def _is_refused(self) -> list[str]:
        """While no web process runs, nginx answers in aily's words."""

        async def ask() -> tuple[int, Any]:
            async with self._client() as rest:
                answer = await rest.get("/api/llmchat/tasks")
                return answer.status, answer.body

        status, body = asyncio.run(ask())
        expected = {"status": status, "code": "unavailable"}
        return (
            []
            if body.items() >= expected.items() and status == 503
            else [f"nginx: {status} {body}"]
        )

    def _restart_under_load(self) -> list[str]:
        before = self._main_processes()
        self.machine.run(": > /var/log/nginx/stdout.log")
        script = "/opt/aily/deploy/systemd/rolling-restart.sh"
        problems = asyncio.run(roll(self, lambda: print(self.machine.run(script), end=""), users=2))
        same = [unit for unit, process in before.items() if self._main_process(unit) == process]
        problems += [f"{unit} was not restarted" for unit in same]
        errors = self.machine.run(r"grep -E '\" 5[0-9][0-9] ' /var/log/nginx/stdout.log || true")
        return problems + errors.splitlines() + self._not_active()

    def _reboot(self) -> list[str]:
        self.machine.reboot()
        found = self._not_active()
        self._start_simulator()

        async def status() -> str:
            async with self._client() as rest:
                return str((await rest.task(self._task_id))["status"])

        if (kept := asyncio.run(status())) != "succeeded":
            found.append(f"a task from before is {kept}")
        return found + self._run_task()

    def _fill_disk(self) -> list[str]:
        """Nothing ends on a full disk, and all comes back with the room, whatever ended on it."""
        found = self._stop()
        disk = FullDisk(self.machine, self._client)
        disk.move_data()
        self.machine.run("systemctl start --no-block aily.target")
        found += self._not_active()
        self._start_simulator()
        found += self._run_task()
        before = self._main_processes()
        disk.fill()
        found += disk.refusals(self._task_id)
        disk.fail_redis_snapshot()
        found += disk.refusals(self._task_id)
        if (now := self._main_processes()) != before:
            found.append(f"other processes: {before}, then {now}")
        self._kill_on_full_disk()
        disk.make_room()
        found += self._not_active() + disk.comes_back() + self._run_task()
        disk.half_fill()
        found += disk.break_postgresql()
        disk.make_room()
        return found + self._not_active() + disk.comes_back() + self._run_task()

    def _kill_on_full_disk(self) -> None:
        """They are started again. PostgreSQL may refuse them sessions until it has room."""
        for unit in (WEB[0], WORKERS[0], "aily-scheduler", "aily-exporter"):
            before = self._main_process(unit)
            self.machine.run(f"systemctl kill --signal=KILL {unit}")
            self._wait(partial(self._is_another, unit, before))

    def _stop(self) -> list[str]:
        self.machine.run("systemctl stop aily-simulator aily.target")
        stopped = " ".join(UNITS)
        self._wait(lambda: set(self._states(stopped)) <= {"inactive", "failed"})
        found = [f"{unit} failed" for unit in UNITS if self._states(unit) != ["inactive"]]
        left = self.machine.run("ps -u aily -o pid=,args= || true").splitlines()
        return found + [f"still runs: {line}" for line in left]

    def _exposure(self) -> list[str]:
        found = []
        for unit in UNITS:
            said = self.machine.run(f"systemd-analyze security --no-pager {unit} | tail -1")
            exposure = re.search(r": (\d+\.\d)", said)
            if exposure is None or float(exposure[1]) > MOST_EXPOSED:
                found.append(said.strip())
        return found

    # --- What systemd says ----------------------------------------------------------------------
    def _states(self, units: str) -> list[str]:
        return self.machine.run(f"systemctl is-active {units} || true").split()

    def _main_processes(self) -> dict[str, str]:
        return {unit: self._main_process(unit) for unit in UNITS[1:]}

    def _main_process(self, unit: str) -> str:
        return self.machine.run(f"systemctl show --property=MainPID --value {unit}").strip()

    def _is_another(self, unit: str, before: str) -> bool:
        """Whether another process than this one runs by now."""
        return self._main_process(unit) not in {before, "0"}

    def _not_active(self) -> list[str]:
        units = " ".join(UNITS)
        self._wait(lambda: set(self._states(units)) == {"active"})
        states = dict(zip(UNITS, self._states(units), strict=True))
        return [f"{unit} is {state}" for unit, state in states.items() if state != "active"]

    def _wait(self, question: Callable[[], bool]) -> None:
        """Until it is so, or for too long: who asks then sees that it is not."""
        with suppress(TimeoutError):
            wait_until(question, seconds=_PATIENCE_SECONDS)


if __name__ == "__main__":
    main()
