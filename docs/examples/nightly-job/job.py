"""Summarize the rows of a CSV file, some at a time; README.md says how to run it."""

import argparse
import asyncio
import csv
import os
import random
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

#: Statuses of responses after which the same request may succeed. 409: it is still being handled.
RETRYABLE_STATUSES = {409, 429, 502, 503, 504}
#: Statuses that every row would get: a wrong key, a missing permission, no such scene.
FATAL_STATUSES = {401, 403, 404}
#: Error codes of tasks after which a new task may succeed. aily has made several attempts by then.
RETRYABLE_TASK_ERRORS = {
    "provider_rate_limited", "provider_overloaded", "provider_unreachable", "provider_error",
    "provider_timeout_connect", "provider_timeout_first_token", "provider_timeout_between_tokens",
    "provider_truncated", "provider_invalid_response", "provider_empty", "worker_lost",
}  # fmt: skip
MAX_TASKS_PER_ROW = 2
#: Longer than aily lets a request wait for the end of its task: SYNC_WAIT_SECONDS, 60.
REQUEST_SECONDS = 90
#: Code and message of a row that is not done when the job's time is over.
LATE_REASON = ("late", "not done in time")


class RowError(Exception):
    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class JobError(Exception):
    """Going on with further rows makes no sense."""


@dataclass
class Job:
    client: httpx.AsyncClient
    scene: str
    #: Part of the idempotency keys: under the same name the job finds its tasks, and pays once.
    name: str
    #: On the clock of `time.monotonic`. Rows that have not ended by then fail.
    ends_at: float

    async def run_row(self, row_id: str, text: str) -> str:
        """Return the row's summary. Raises RowError and JobError."""
        for number in range(1, MAX_TASKS_PER_ROW + 1):
            # A header has no letters beyond ASCII.
            key = quote(f"{self.name}/{row_id}/{number}")
            metadata = {"job": self.name, "row": row_id}
            body = {"variables": {"text": text}, "lane": "batch", "metadata": metadata}
            task = await self.run_task(key, body)
            if task["status"] == "succeeded":
                return str(task["result"]["text"])
            error = task["error"] or {"code": task["status"], "message": ""}
            if error["code"] not in RETRYABLE_TASK_ERRORS:
                break
        raise RowError(error["code"], error["message"])

    async def run_task(self, key: str, body: dict[str, Any]) -> dict[str, Any]:
        """Submit a task and return it when it has ended. Raises RowError and JobError.

        The same request is sent until it has: the idempotency key makes that safe. Where a response
        was lost, the next request finds the same task.
        """
        reason, failures, pause = LATE_REASON, 0, 0.0
        while time.monotonic() + pause < self.ends_at:
            await asyncio.sleep(pause)
            pause = min(2**failures, 60) * random.uniform(0.5, 1)
            failures += 1
            try:
                answer = await self.client.post(
                    f"/api/llmchat/prompts/{self.scene}/api",
                    params={"sync": "true"},
                    headers={"Idempotency-Key": key},
                    json=body,
                    timeout=min(REQUEST_SECONDS, self.ends_at - time.monotonic()),
                )
            except httpx.TransportError as error:
                reason = ("unreachable", repr(error))
                continue
            if answer.status_code == 200:
                task: dict[str, Any] = answer.json()
                return task
            if answer.status_code == 202:  # it takes longer than aily lets a request wait
                reason, failures, pause = LATE_REASON, 0, 0.0
            else:
                reason = self.check_refusal(answer)
                pause = max(pause, retry_after_seconds(answer))
        raise RowError(*reason)

    def check_refusal(self, answer: httpx.Response) -> tuple[str, str]:
        """Return a passing refusal's code and message. Raises RowError, JobError of others."""
        try:
            problem = answer.json()
            code, message = problem["code"], problem["detail"]
        except (ValueError, KeyError):  # not aily's: a proxy before it
            code, message = f"http_{answer.status_code}", answer.text[:200]
        if answer.status_code in FATAL_STATUSES:
            raise JobError(f"{code}: {message}")
        if answer.status_code not in RETRYABLE_STATUSES:
            raise RowError(code, message)
        if code == "budget_exceeded" and "Retry-After" not in answer.headers:
            raise JobError(f"{code}: {message}")  # no waiting helps
        return code, message


def retry_after_seconds(answer: httpx.Response) -> float:
    try:
        return float(answer.headers["Retry-After"])
    except (KeyError, ValueError):  # none, or a date, which proxies may send
        return 0


def read_rows(path: Path) -> list[dict[str, str]]:
    """Read all rows, before the first is submitted. Raises JobError where that is not possible."""
    csv.field_size_limit(10_000_000)  # what is too long for aily is refused there, row by row
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, restval="")
            rows = list(reader)
    except (OSError, ValueError, csv.Error) as error:
        raise JobError(str(error)) from error
    if not {"id", "text"} <= set(reader.fieldnames or ()):
        raise JobError("the file needs the columns id and text")
    return rows


async def run(job: Job, rows: list[dict[str, str]], in_flight: int, out: Path) -> tuple[int, int]:
    """Run all rows and return how many succeeded and failed; both are written as they end."""
    counts, waiting = [0, 0], iter(rows)
    with (
        # Line by line, so that a job that is killed leaves what it has.
        (out / "summaries.csv").open("w", 1, "utf-8", newline="") as done_file,
        (out / "failed.csv").open("w", 1, "utf-8", newline="") as failed_file,
    ):
        done, failed = csv.writer(done_file), csv.writer(failed_file)
        done.writerow(["id", "summary"])
        failed.writerow(["id", "code", "message"])

        async def work() -> None:
            for row in waiting:  # one iterator for all workers: each row is taken once
                try:
                    done.writerow([row["id"], await job.run_row(row["id"], row["text"])])
                    counts[0] += 1
                except RowError as error:
                    failed.writerow([row["id"], error.code, error])
                    counts[1] += 1

        async with asyncio.TaskGroup() as group:
            for _ in range(in_flight):
                group.create_task(work())
    return counts[0], counts[1]


async def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", type=Path, help="a CSV file with the columns id and text")
    parser.add_argument("--out", type=Path, default=Path(), help="directory of the two reports")
    parser.add_argument("--name", default=time.strftime("%Y-%m-%d"), help="default: the date")
    parser.add_argument("--scene", default="summarize")
    parser.add_argument("--in-flight", type=int, default=50)
    parser.add_argument("--hours", type=float, default=6, help="then the job ends, done or not")
    options = parser.parse_args()
    if "AILY_KEY" not in os.environ:
        parser.error("set AILY_KEY to an API key")
    if options.in_flight < 1:
        parser.error("--in-flight must be 1 or more")
    options.out.mkdir(parents=True, exist_ok=True)
    client = httpx.AsyncClient(
        base_url=os.environ.get("AILY_URL", "http://127.0.0.1:8000"),
        headers={"Authorization": f"Bearer {os.environ['AILY_KEY']}"},
        limits=httpx.Limits(max_connections=options.in_flight),
    )
    job = Job(client, options.scene, options.name, time.monotonic() + options.hours * 3600)
    stopped, done, failed = None, 0, 0
    async with client:
        try:
            done, failed = await run(job, read_rows(options.rows), options.in_flight, options.out)
        except* JobError as errors:
            stopped = errors.exceptions[0]
    if stopped:
        print(f"stopped: {stopped}", file=sys.stderr)
        return 2
    print(f"{done} rows summarized, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
