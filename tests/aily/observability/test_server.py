"""The port beside the work: metrics and probes."""

from __future__ import annotations

import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from aily.observability.server import serve
from tests.waiting import wait_until


@dataclass
class Beside:
    """A server, and what it is told of its process."""

    url: str = ""
    is_alive: bool = True
    parts: dict[str, bool] = field(default_factory=lambda: {"redis": True, "lease": True})

    #: Held up, the lease's check does not answer.
    gate: threading.Event = field(default_factory=threading.Event)
    asked: int = 0

    def lease(self) -> bool:
        self.asked += 1
        self.gate.wait(60)
        return self.parts["lease"]

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
    checks = {"redis": lambda: one.parts["redis"], "lease": one.lease}
    server = serve("127.0.0.1", 0, is_alive=lambda: one.is_alive, parts=checks)
    one.url = f"http://127.0.0.1:{server.server_port}"
    yield one
    server.shutdown()
    server.server_close()


@pytest.fixture
def beside(served: Beside, monkeypatch: pytest.MonkeyPatch) -> Beside:
    monkeypatch.setattr("aily.observability.server.PROBE_SECONDS", 20)
    served.is_alive, served.parts = True, {"redis": True, "lease": True}
    served.gate.set()
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


def test_readyz_does_not_wait_for_a_part_that_does_not_answer(
    beside: Beside, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aily.observability.server.PROBE_SECONDS", 0.5)
    beside.gate.clear()
    before, began = beside.asked, time.monotonic()
    for _ in range(5):
        status, body = beside.get("/readyz")
        assert status == 503
        assert json.loads(body)["parts"] == {"redis": "ok", "lease": "unavailable"}
    assert time.monotonic() - began < 30
    # The question is still open, and not asked again.
    assert beside.asked == before + 1
    beside.gate.set()
    wait_until(lambda: beside.get("/readyz")[0] == 200, "readiness")
