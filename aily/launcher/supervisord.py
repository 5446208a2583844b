"""supervisord, made to survive unwritable logs and to support IPv6: run by `python -m`.

By itself it ends when the disk of a log is full, and takes every process along.
"""

from __future__ import annotations

import re
import socket
from pathlib import Path

from supervisor import loggers, supervisord
from supervisor.datatypes import InetStreamSocketConfig

_IPV6_SOCKET = re.compile(r"tcp://\[([0-9a-fA-F:.]+)\]:(\d+)")


class LossyFile(loggers.RotatingFileHandler):
    """A log file that loses lines while the disk is full, and goes on when there is room."""

    def emit(self, record: object) -> None:
        try:
            super().emit(record)
        except (OSError, ValueError):
            # Rotating failed, and has left the file closed.
            self._open_again()

    def _open_again(self) -> None:
        try:
            self.stream = Path(self.baseFilename).open(self.mode)  # noqa: SIM115 (open until it is rotated)
            self.closed = False
        except OSError:
            # The next line tries again.
            pass

    def handleError(self) -> None:  # noqa: N802 - supervisor's name
        """Nothing: a traceback on standard error is a line on the same full disk."""


class _IPv6Socket(InetStreamSocketConfig):
    """supervisor's listening socket, which supports IPv4 only."""

    def create_and_bind(self) -> socket.socket:
        return socket.create_server(self.addr(), family=socket.AF_INET6)


class _Options(supervisord.ServerOptions):
    """supervisor's configuration file, where a socket may be `tcp://[IPv6 address]:port`."""

    def parse_fcgi_socket(
        self, sock: str, proc_uid: object, socket_owner: object, socket_mode: object, backlog: int
    ) -> InetStreamSocketConfig:
        if address := _IPV6_SOCKET.fullmatch(sock):
            return _IPv6Socket(address[1], int(address[2]), backlog=backlog)
        return super().parse_fcgi_socket(sock, proc_uid, socket_owner, socket_mode, backlog)


if __name__ == "__main__":
    loggers.RotatingFileHandler = LossyFile
    supervisord.ServerOptions = _Options
    supervisord.main()
