"""aily with login by OpenID Connect, as a process of its own beside the tests, on their rows.

`python -m tests.accounts.oidc_site` serves on the socket that is file descriptor 0.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import django

from aily.embedded.service import make_private
from aily.launcher.programs import BASE_DIR
from aily.launcher.readiness import readiness
from tests.oidc_provider import CLIENT_ID, CLIENT_SECRET
from tests.running import Running
from tests.waiting import wait_until


class OIDCSite(Running):
    """The web server with `environment`, which names the database and the issuer.

    The first one on a database is to `migrate` it, the tests have made no tables of allauth.
    """

    def __init__(
        self, data_dir: Path, name: str, environment: Mapping[str, str], *, migrate: bool
    ) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=100)
        port = self._socket.getsockname()[1]
        self.port: int = port
        self.base_url = f"http://127.0.0.1:{port}"
        make_private(data_dir / "log")
        self._name = name
        self._log_file = data_dir / "log" / f"oidc-{name}.log"
        self._arguments = ["--migrate"] if migrate else []
        self._environment = {
            **os.environ,
            "OIDC_CLIENT_ID": CLIENT_ID,
            "OIDC_CLIENT_SECRET": CLIENT_SECRET,
            "OIDC_NAME": "Example ID",
            "STATIC_FROM_SOURCE": "true",
            "LOG_LEVEL": "DEBUG",
            "METRICS_PORT": "0",
            **environment,
        }
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log_file.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.accounts.oidc_site", *self._arguments],
                cwd=BASE_DIR,
                env=self._environment,
                stdin=self._socket.fileno(),
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        wait_until(self._is_ready, "the site", 60)

    def _is_ready(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.log_tail()
        return not readiness("127.0.0.1", self.port)

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(30)
        self._socket.close()

    def log_files(self) -> Mapping[str, Path]:
        return {self._name: self._log_file}

    def log(self) -> str:
        return self._log_file.read_text(errors="replace")


def main() -> None:
    os.environ["DJANGO_SETTINGS_MODULE"] = "aily.settings"
    from django.conf import settings

    plain = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
    settings.STORAGES = {**settings.STORAGES, "staticfiles": plain}
    django.setup()
    from django.core.management import call_command
    from django.db import connections

    for app in ("account", "socialaccount") if "--migrate" in sys.argv else ():
        call_command("migrate", app, verbosity=0)
    connections.close_all()
    from aily.web.servers.uvicorn import serve

    serve(socket.socket(fileno=0))


if __name__ == "__main__":
    main()
