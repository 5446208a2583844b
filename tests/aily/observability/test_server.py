"""The port beside the work: metrics and probes."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from aily.observability.server import serve


@dataclass
class Beside:
    """A server, and what it is told of its process."""

    url: str = ""
    is_alive: bool = True
    parts: dict[str, bool] = field(default_factory=lambda: {"redis": True, "lease": True})

    def get(self, path: str) -> tuple[int, Any]:
        try:
            with urllib.request.urlopen(self.url + path, timeout=10) as response:  # noqa: S310
                return response.status, response.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()


@pytest.fixture(scope="module")
def served() -> Iterator[Beside]:
    one = Beside()
    checks = {name: lambda name=name: one.parts[name] for name in one.parts}
    server = serve("127.0.0.1", 0, is_alive=lambda: one.is_alive, parts=checks)
    one.url = f"http://127.0.0.1:{server.server_port}"
    yield one
    server.shutdown()
    server.server_close()


@pytest.fixture
def beside(served: Beside) -> Beside:
    served.is_alive, served.parts = True, {"redis": True, "lease": True}
    return served


def test_metrics_and_nothing_else(beside: Beside) -> None:
    status, body = beside.get("/metrics")
    assert status == 200
    assert b"aily_websockets_open " in body
    assert beside.get("/admin/")[0] == 404


def test_livez_tells_of_a_standing_event_loop(beside: Beside) -> None:
    assert beside.get("/livez")[0] == 200
    beside.is_alive = False
    assert beside.get("/livez")[0] == 503


def test_readyz_names_what_is_away(beside: Beside) -> None:
    assert beside.get("/readyz")[0] == 200
    beside.parts["lease"] = False
    status, body = beside.get("/readyz")
    assert status == 503
    assert json.loads(body) == {
        "status": "unavailable",
        "parts": {"redis": "ok", "lease": "unavailable"},
    }


def test_readyz_survives_a_check_that_breaks(beside: Beside) -> None:
    del beside.parts["redis"]
    status, body = beside.get("/readyz")
    assert status == 503
    assert json.loads(body)["parts"] == {"redis": "unavailable", "lease": "ok"}
