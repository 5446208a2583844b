"""Runs a program as an unprivileged user while aily itself runs as root.

PostgreSQL refuses to run as root. It runs as `nobody`, with the capability to enter any directory:
it works wherever the checkout is (/root has mode 0700), no account is created, and no directory is
opened to others. Other programs that run as `nobody` gain nothing: the server's directories are
below directories of root with mode 0700.
"""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

from aily.embedded.service import EmbeddedServiceError

#: User and group `nobody`, on every Linux.
UNPRIVILEGED_ID = 65534

_SETGID, _SETUID, _SETPCAP = 6, 7, 8
#: Capabilities that open directories, the weaker one first. Docker grants only the second.
_PASS_THROUGH = {"dac_read_search": 2, "dac_override": 1}


def running_as_root() -> bool:
    return os.geteuid() == 0


def as_unprivileged_user(command: list[str], death_signal: signal.Signals) -> list[str]:
    """The command, run by root as `nobody`, signalled when its parent dies.

    Raises EmbeddedServiceError if root lacks the capabilities (some containers) or setpriv (macOS).
    """
    setpriv = shutil.which("setpriv")
    held = _effective_capabilities()
    passing = next((name for name, bit in _PASS_THROUGH.items() if bit in held), None)
    if setpriv is None or passing is None or not held >= {_SETGID, _SETUID, _SETPCAP}:
        raise EmbeddedServiceError(
            "PostgreSQL does not run as root, and this root cannot run it as another user; "
            "run as an ordinary user, or set DATABASE_URL"
        )
    only = f"-all,+{passing}"
    identity = ["--reuid", str(UNPRIVILEGED_ID), "--regid", str(UNPRIVILEGED_ID), "--clear-groups"]
    # no_setuid_fixup: otherwise access(2), which PostgreSQL calls for its own binary, ignores the
    # capabilities of all users except root.
    capabilities = ["--securebits", "+no_setuid_fixup", "--bounding-set", only]
    capabilities += ["--inh-caps", only, "--ambient-caps", only]
    death = ["--pdeathsig", death_signal.name.removeprefix("SIG")]
    return [setpriv, *identity, *capabilities, *death, "--", *command]


def _effective_capabilities() -> set[int]:
    """Numbers of the capabilities of this process; none if the kernel has no capabilities."""
    status = Path("/proc/self/status")
    if not status.exists():
        return set()
    lines = status.read_text().splitlines()
    mask = next((int(line.split()[1], 16) for line in lines if line.startswith("CapEff:")), 0)
    return {bit for bit in range(mask.bit_length()) if mask >> bit & 1}
