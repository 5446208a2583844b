"""Hosts on one machine: a network namespace each, on a bridge that they can be taken off.

Everything lives in a namespace of the caller's own, which must have been made by `in_own_network`:
the machine's network is not touched, and all of it is gone with the process.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from aily.process.lifetimes import tied_to_parent
from tests.installed import missing_programs
from tests.running import Running

NETWORK = "10.77.0"
#: This process's own address on the bridge.
HERE = f"{NETWORK}.1"
_INSIDE = "AILY_OWN_NETWORK"


def in_own_network(module: str, arguments: Sequence[str]) -> None:
    """Go on in a network namespace of our own: runs `python -m module` in it, in our place.

    Returns at once when we are in it. Exits with 0, and says why, where none may be made.
    """
    if os.environ.get(_INSIDE):
        return
    require("ip", "unshare", "nsenter", packages="iproute2 util-linux")
    trial = "ip link add trial type bridge && ip link set lo up"
    tried = subprocess.run(
        ["unshare", "--net", "sh", "-c", trial], capture_output=True, text=True, check=False
    )
    if tried.returncode != 0:
        _skip(f"namespaces of the network may not be made here: {tried.stderr.strip()}")
    os.environ[_INSIDE] = "1"
    os.execvp("unshare", ["unshare", "--net", sys.executable, "-m", module, *arguments])  # noqa: S606


def require(*programs: str, packages: str) -> None:
    """Go on as root, and where all of these are. Exits with 0, and says why, elsewhere."""
    missing = missing_programs(*programs)
    if missing:
        _skip(f"{', '.join(missing)} is missing (Debian: apt install {packages})")
    if os.geteuid() != 0:
        _skip("it needs root")


def _skip(reason: str) -> None:
    print(f"SKIPPED: {reason}")
    sys.exit(1 if os.environ.get("CI") else 0)


class Host:
    """One namespace with one address. Its link is `cut` and `heal`ed on the bridge's side."""

    def __init__(self, name: str, number: int) -> None:
        self.name = name
        self.address = f"{NETWORK}.{number}"
        self._link = f"port{number}"
        self._holder = subprocess.Popen(tied_to_parent(["unshare", "--net", "sleep", "infinity"]))
        self._join_network()

    def _join_network(self) -> None:
        holder = self._holder.pid
        ours = Path("/proc/self/ns/net").readlink()
        while Path(f"/proc/{holder}/ns/net").readlink() == ours:
            time.sleep(0.01)
        peer = ("type", "veth", "peer", "name", "eth0", "netns", str(holder))
        _ip("link", "add", self._link, *peer)
        _ip("link", "set", self._link, "master", "network", "up")
        for arguments in (
            ("address", "add", f"{self.address}/24", "dev", "eth0"),
            ("link", "set", "eth0", "up"),
            ("link", "set", "lo", "up"),
        ):
            subprocess.run(self.command(["ip", *arguments]), check=True)

    def command(self, command: Sequence[str]) -> list[str]:
        """The command, run on this host."""
        return ["nsenter", f"--net=/proc/{self._holder.pid}/ns/net", "--", *command]

    def cut(self) -> None:
        """From now on all its packets, in and out, vanish without an error."""
        _ip("link", "set", self._link, "master", "void")

    def heal(self) -> None:
        _ip("link", "set", self._link, "master", "network")

    def reaches(self, address: str, port: int) -> bool:
        """Whether a connection from this host is taken within a second."""
        connect = f"import socket; socket.create_connection(('{address}', {port}), 1)"
        tried = subprocess.run(
            self.command([sys.executable, "-c", connect]), capture_output=True, check=False
        )
        return tried.returncode == 0

    def stop(self) -> None:
        self._holder.kill()
        self._holder.wait()


class Network(Running):
    """`with Network(names)`: hosts by name, and we are on the same bridge."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names
        self.hosts: dict[str, Host] = {}

    def start(self) -> None:
        _ip("link", "set", "lo", "up")
        for bridge in ("network", "void"):
            _ip("link", "add", bridge, "type", "bridge")
            _ip("link", "set", bridge, "up")
        _ip("address", "add", f"{HERE}/24", "dev", "network")
        for number, name in enumerate(self._names, 10):
            self.hosts[name] = Host(name, number)

    def stop(self) -> None:
        for host in self.hosts.values():
            host.stop()


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)
