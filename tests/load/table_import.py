"""A CSV file of many rows as a new table: seconds to its preview, seconds in all, and memory."""

from __future__ import annotations

import csv
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx

from tests.load.goals import Figures
from tests.load.measure import Groups, PeakMemory

_PATIENCE_SECONDS = 600.0
_LOOK_SECONDS = 0.1
_CHUNK_BYTES = 1_048_576
_PARTS = ("web", "worker")


class TableImport:
    """Writes the file, imports it, and counts what is in the table."""

    def __init__(self, client: httpx.Client, groups: Groups) -> None:
        self.wrong = 0
        self._client = client
        self._groups = groups

    def run(self, file: Path, header: Sequence[str], rows: Iterator[Sequence[object]]) -> Figures:
        count = _write(file, header, rows)
        before = self._groups.rss_bytes()
        began = time.monotonic()
        with PeakMemory(self._groups) as memory:
            made = self._upload(file)
            uploaded = time.monotonic()
            job = self._wait(made["id"], lambda job: job["state"] != "inspecting")
            previewed = time.monotonic()
            self._client.post(f"/api/tables/imports/{job['id']}:start").raise_for_status()
            job = self._wait(job["id"], lambda job: bool(job["ended_at"]))
            ended = time.monotonic()
        self.wrong += job["state"] != "done" or job["created_rows"] != count
        return {
            "import_rows": float(count),
            "import_upload_seconds": uploaded - began,
            "import_preview_seconds": previewed - uploaded,
            "import_seconds": ended - began,
            "import_bytes": float(file.stat().st_size),
            **{
                f"import_{part}_growth_bytes": float(memory.peak_bytes[part] - before[part])
                for part in _PARTS
            },
        }

    def _upload(self, file: Path) -> dict[str, Any]:
        def pieces() -> Iterator[bytes]:
            with file.open("rb") as source:
                while piece := source.read(_CHUNK_BYTES):
                    yield piece

        answer = self._client.post(
            "/api/tables/imports",
            params={"file_name": file.name, "name": "Imported"},
            content=pieces(),
            headers={
                "Content-Type": "application/octet-stream",
                "Content-Length": str(file.stat().st_size),
            },
        )
        made: dict[str, Any] = answer.raise_for_status().json()
        return made

    def _wait(self, import_id: str, is_over: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while True:
            path = f"/api/tables/imports/{import_id}"
            job: dict[str, Any] = self._client.get(path).raise_for_status().json()
            if is_over(job) or time.monotonic() > deadline:
                return job
            time.sleep(_LOOK_SECONDS)


def _write(file: Path, header: Sequence[str], rows: Iterator[Sequence[object]]) -> int:
    """Write the file; returns how many rows it has."""
    count = 0
    with file.open("w", newline="") as target:
        writer = csv.writer(target)
        writer.writerow(header)
        for row in rows:
            writer.writerow(row)
            count += 1
    return count
