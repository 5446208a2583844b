"""A run of an AI field over many rows of a table: rows a second, CPU a row, and whether each answer
is in its cell."""

from __future__ import annotations

import time
from typing import Any

import httpx

from tests.load.checks import expected_text
from tests.load.goals import Figures
from tests.load.installation import Installation, Upstream
from tests.load.interactive_user import InteractiveUser
from tests.load.measure import PeakMemory
from tests.load.recording import MODEL, SCENE

#: Fewer answers are over before a run has its rate.
MIN_GOAL_ANSWERS = 5_000
_PARTS = ("web", "worker", "scheduler", "postgres", "valkey")
_PATIENCE_SECONDS = 3_600.0
_LOOK_SECONDS = 0.25
_PAGE = 500


class TableRun:
    """Fills an AI field, whose prompts are the texts of one field, and reads all of it again."""

    def __init__(
        self,
        client: httpx.Client,
        table: str,
        text_key: str,
        installation: Installation,
        upstream: Upstream,
    ) -> None:
        self.wrong = 0
        self._client = client
        self._table = table
        self._text_key = text_key
        self._groups = installation.groups()
        self._tokens = upstream.tokens
        self._output = ""

    def run_beside(self, other_key: str, rows: int, idle_seconds: float) -> Figures:
        """The run, while another user asks questions; and what their answers take without it."""
        base_url = str(self._client.base_url)
        with InteractiveUser(base_url, other_key) as idle:
            time.sleep(idle_seconds)
        with InteractiveUser(base_url, other_key) as beside:
            figures = self.run(rows)
        right = self._check(self._output, rows)
        self.wrong += idle.failed + beside.failed
        idle_p99, p99 = idle.p99(), beside.p99()
        return figures | {
            "run_right_answers": float(right),
            "other_user_idle_p99_seconds": idle_p99,
            "other_user_p99_seconds": p99,
            "other_user_p99_ratio": p99 / idle_p99 if p99 and idle_p99 else None,
        }

    def run(self, rows: int) -> Figures:
        body: dict[str, Any] = {"name": "Answer", "scene": SCENE, "model": MODEL}
        body |= {"mapping": {"text": self._text_key}}
        made = self._post(f"{self._table}/ai-fields", body)
        path = f"/api/tables/ai-fields/{made['id']}"
        rss = self._groups.rss_bytes()
        before, began = self._groups.cpu_seconds(), time.monotonic()
        with PeakMemory(self._groups) as memory:
            started = self._post(f"{path}/runs", {"scope": {"first": rows}, "start": "now"})
            ready_seconds = time.monotonic() - began
            first_seconds = self._wait(started["id"], 1) - began
            seconds = self._wait(started["id"], rows) - began
        after = self._groups.cpu_seconds()
        self._output = made["outputs"][0]["key"]
        return {
            "run_rows_per_second": rows / seconds,
            "run_start_seconds": ready_seconds,
            "run_first_answer_seconds": first_seconds,
            "run_web_rss_bytes": memory.peak_bytes.get("web"),
            "run_worker_rss_bytes": memory.peak_bytes.get("worker"),
            **{
                f"run_{part}_growth_bytes": float(memory.peak_bytes[part] - rss[part])
                for part in ("web", "worker")
            },
            **{
                f"run_{part}_cpu_ms_per_row": (after[part] - before[part]) * 1000 / rows
                for part in _PARTS
            },
        }

    def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        answer: dict[str, Any] = self._client.post(path, json=body).raise_for_status().json()
        return answer

    def _wait(self, run_id: str, rows: int) -> float:
        """When so many rows have succeeded, or the run has ended."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while time.monotonic() < deadline:
            run = self._client.get(f"/api/tables/runs/{run_id}").raise_for_status().json()
            if run["counts"]["succeeded"] >= rows or run["ended_at"]:
                break
            time.sleep(_LOOK_SECONDS)
        return time.monotonic()

    def _check(self, key: str, rows: int) -> int:
        """Count the rows that have their answer, and those that have not."""
        cursor: str | None = None
        right = 0
        while right + self.wrong < rows:
            body = {"limit": _PAGE, "fields": [self._text_key, key], "count": "none"}
            found = self._post(f"{self._table}/rows:query", {**body, "cursor": cursor})
            for row in found["items"][: rows - right - self.wrong]:
                asked, answer = row["values"][self._text_key], row["values"][key]
                is_right = answer == expected_text(asked, self._tokens)
                right, self.wrong = right + is_right, self.wrong + (not is_right)
            cursor = found["next"]
            if cursor is None:
                break
        return right
