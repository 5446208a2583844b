"""A person beside a run: asks one thing after the other, and notes how long each answer took."""

from __future__ import annotations

import threading
import time

import httpx

from tests.load.measure import percentile
from tests.load.recording import MODEL
from tests.running import Running

_REQUEST = "/api/llmchat/request"
_TIMEOUT_SECONDS = 60.0


class InteractiveUser(Running):
    """Sends requests of the lane `interactive` while its context lasts, `at_once` of them."""

    def __init__(self, base_url: str, key: str, at_once: int = 4) -> None:
        self.seconds: list[float] = []
        self.failed = 0
        self._ended = threading.Event()
        headers = {"Authorization": f"Bearer {key}"}
        self._client = httpx.Client(base_url=base_url, headers=headers, timeout=_TIMEOUT_SECONDS)
        self._threads = [threading.Thread(target=self._ask, args=[n]) for n in range(at_once)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()
        self._client.close()

    def p99(self) -> float | None:
        return percentile(self.seconds, 0.99)

    def _ask(self, place: int) -> None:
        number = 0
        while not self._ended.is_set():
            number += 1
            messages = [{"role": "user", "content": f"Question {number} of {place}"}]
            body = {"model": MODEL, "messages": messages, "lane": "interactive"}
            began = time.perf_counter()
            try:
                answer = self._client.post(_REQUEST, json=body, params={"sync": "true"})
                is_right = answer.is_success and answer.json()["status"] == "succeeded"
            except httpx.HTTPError:
                is_right = False
            self.seconds.append(time.perf_counter() - began)
            self.failed += not is_right
