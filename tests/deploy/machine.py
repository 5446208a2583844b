"""A Debian machine that boots a systemd of its own: a container of systemd-nspawn, as root.

Its packages are installed once, into var/systemd/base; each machine writes to an overlay above it,
which is thrown away. It shares the network of the caller, which is one of the caller's own.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import psutil

from aily.launcher.programs import BASE_DIR
from tests.running import Running
from tests.waiting import wait_until

SUITE = "bookworm"
#: What deploy/README.md says to install, what it takes for granted, and the client.
PACKAGES = (
    *("git", "curl", "python3-venv", "postgresql", "redis-server", "nginx-light", "gettext-base"),
    *("systemd", "systemd-sysv", "dbus", "procps", "ca-certificates", "openssl"),
)
#: Where the checkout and the wheels of its requirements are in the machine.
CHECKOUT, WHEELS = "/mnt/checkout", "/mnt/wheels"
_CACHE = BASE_DIR / "var" / "systemd"
_BOOT_SECONDS = 60
#: aily-prepare goes on until it succeeds, and `systemctl start` waits for it.
_SCRIPT_SECONDS = 600
#: What nspawn exits with under --keep-unit, so that its starter starts it again.
_REBOOT_ASKED = 133
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def install_base() -> Path:
    """A root directory with the packages, made once; needs the network."""
    base = _CACHE / "base"
    if not base.exists():
        print("installing a Debian (once, some minutes) ...", flush=True)
        begun = _CACHE / "base.begun"
        subprocess.run(["rm", "-rf", "--one-file-system", str(begun)], check=True)
        include = f"--include={','.join(PACKAGES)}"
        _run("debootstrap", "--variant=minbase", include, SUITE, str(begun))
        begun.rename(base)
    return base


def download_wheels() -> Path:
    """The packages of requirements.lock for the machine's Python, which has no way out."""
    wheels, lock = _CACHE / "wheels", BASE_DIR / "requirements.lock"
    download = [
        *(sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"),
        *("--no-deps", "--only-binary", ":all:", "--python-version", "3.11", "--dest", str(wheels)),
    ]
    _run(*download, "--requirement", str(lock))
    # Wanted by redis below Python 3.11.3, which Debian's is; pip looks at the one that runs it.
    line = next(line for line in lock.read_text().splitlines() if line.startswith("async-timeout="))
    _run(*download, line.split()[0])
    return wheels


def _run(*command: str) -> None:
    subprocess.run(command, check=True, stdout=sys.stderr)


class Machine(Running):
    """`with Machine(directory)`: booted. `run` is root's shell in it."""

    def __init__(self, directory: Path) -> None:
        self.root = directory / "root"
        self._directory = directory
        self._log = directory / "console.log"

    def start(self) -> None:
        for name in ("root", "upper", "work", "checkout"):
            (self._directory / name).mkdir()
        # What git would have, with what was changed since.
        listed = "git ls-files -z --cached --others --exclude-standard"
        copied = (
            f"{listed} | tar --null --files-from=- --create | tar -C {self._checkout} --extract"
        )
        subprocess.run(["/bin/sh", "-c", copied], cwd=BASE_DIR, check=True)
        layers = f"lowerdir={_CACHE / 'base'},upperdir={self._directory / 'upper'}"
        layers += f",workdir={self._directory / 'work'}"
        _run("mount", "-t", "overlay", "-o", layers, "overlay", str(self.root))
        # debootstrap leaves it to the first boot, which would ask questions.
        (self.root / "etc" / "machine-id").write_text("")
        (self.root / "etc" / "hostname").write_text("aily\n")
        (self.root / "etc" / "locale.conf").write_text("LANG=C.UTF-8\n")
        self._boot()

    @property
    def _checkout(self) -> Path:
        return self._directory / "checkout"

    def _boot(self) -> None:
        command = ["systemd-nspawn", "--quiet", "--boot", f"--directory={self.root}"]
        command += ["--machine=aily-systemd", "--console=pipe", "--link-journal=no"]
        # A systemd of the host learns nothing: it need not have one.
        command += ["--register=no", "--keep-unit"]
        command += [f"--bind-ro={self._checkout}:{CHECKOUT}"]
        command += [f"--bind-ro={_CACHE / 'wheels'}:{WHEELS}"]
        with self._log.open("ab") as log:
            self._nspawn = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, process_group=0
            )
        self._wait_until_booted()

    def _init(self) -> int:
        """The process that is 1 in the machine; 0 while there is none."""
        children = psutil.Process(self._nspawn.pid).children()
        return children[0].pid if children else 0

    def _wait_until_booted(self) -> None:
        def has_booted() -> bool:
            assert self._nspawn.poll() is None
            return bool(self._init() and self._answers())

        try:
            wait_until(has_booted, "the machine", _BOOT_SECONDS)
        except (TimeoutError, AssertionError):
            raise TimeoutError(f"the machine does not boot\n{self.log_tail()}") from None

    def _answers(self) -> bool:
        state = self.run("systemctl is-system-running --wait || true", check=False).strip()
        return state in {"running", "degraded"}

    def reboot(self) -> None:
        self.run("systemctl reboot", check=False)
        if self._nspawn.wait(_BOOT_SECONDS) != _REBOOT_ASKED:
            raise RuntimeError(f"the machine ended\n{self.log_tail()}")
        self._boot()

    def run(
        self, script: str, *, environment: Mapping[str, str] | None = None, check: bool = True
    ) -> str:
        """What the script prints. Raises, with all it said, when it fails and `check` is set.

        Raises TimeoutError, with the journal's last lines, when it takes too long.
        """
        try:
            result = self._run_inside(script, environment or {}, _SCRIPT_SECONDS)
        except subprocess.TimeoutExpired:
            journal = self._run_inside("journalctl --no-pager --lines=20", {}, _BOOT_SECONDS)
            raise TimeoutError(f"takes too long: {script}\n{journal.stdout}") from None
        if check and result.returncode:
            raise RuntimeError(f"{script}\n{result.stdout}{result.stderr}")
        return result.stdout

    def _run_inside(
        self, script: str, environment: Mapping[str, str], seconds: float
    ) -> subprocess.CompletedProcess[str]:
        command = ["nsenter", f"--target={self._init()}", "--mount", "--pid", "--ipc", "--uts"]
        command += ["--cgroup", "--net", "--root", "--wd=/", "/bin/sh", "-euc", script]
        return subprocess.run(
            command,
            env={"PATH": _PATH, "LANG": "C.UTF-8", **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            cwd="/",
            timeout=seconds,
        )

    def write(self, path: str, text: str) -> None:
        """Into a file that is there already, which keeps its owner and mode."""
        with (self.root / path.removeprefix("/")).open("w") as file:
            file.write(text)

    def path(self, path: str) -> Path:
        """A path of the machine as this process sees it, mounts of the machine's own included."""
        return Path(f"/proc/{self._init()}/root{path}")

    def log_files(self) -> Mapping[str, Path]:
        return {"console": self._log}

    def stop(self) -> None:
        if hasattr(self, "_nspawn"):
            # nspawn's SIGTERM: the orderly end of the machine.
            self._nspawn.terminate()
            try:
                self._nspawn.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(self._nspawn.pid, 9)
                self._nspawn.wait()
        if self.root.is_mount():
            _run("umount", str(self.root))
