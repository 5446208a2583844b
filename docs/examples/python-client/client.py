"""aily from Python, by httpx alone; README.md says how to run it."""

import json
import os
import random
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

TERMINAL = {"task.completed", "task.failed", "task.cancelled", "task.expired"}
#: Statuses after which the same request may succeed.
PASSING = {429, 502, 503, 504}
MAX_FAILURES = 10

client = httpx.Client(
    base_url=os.environ.get("AILY_URL", "http://127.0.0.1:8000"),
    headers={"Authorization": f"Bearer {os.environ.get('AILY_KEY', '')}"},
    # Streams say something every 15 s.
    timeout=httpx.Timeout(30),
)


def send(method: str, path: str, **request: Any) -> Any:
    """Send what is harmless to repeat until it is answered, and return the JSON of the answer."""
    failures = 0
    while True:
        failures += 1
        wait = min(2.0**failures / 4, 30)
        try:
            response = client.request(method, f"/api/llmchat{path}", **request)
        except httpx.TransportError:
            if failures >= MAX_FAILURES:
                raise
        else:
            if response.status_code not in PASSING or failures >= MAX_FAILURES:
                return checked(response).json()
            wait = max(wait, float(response.headers.get("Retry-After", 0)))
        time.sleep(wait * random.uniform(1, 1.25))


def checked(response: httpx.Response) -> httpx.Response:
    """Exit with the reason of a refusal."""
    if response.is_success:
        return response
    problem = json.loads(response.read())
    sys.exit(f"{problem['code']}: {problem['detail']}")


def events(task_id: str) -> Iterator[dict[str, Any]]:
    """Give all events of a task, from the first to the last, through lost connections."""
    after, failures = "", 0
    while failures < MAX_FAILURES:
        headers = {"Last-Event-ID": after} if after else {}
        try:
            with client.stream(
                "GET", f"/api/llmchat/tasks/{task_id}/events", headers=headers
            ) as stream:
                for line in checked(stream).iter_lines():
                    if not line.startswith("data:"):
                        continue
                    event = json.loads(line[5:])
                    after, failures = event.get("id", after), 0
                    yield event
                    if event["type"] in TERMINAL:
                        return
        except httpx.TransportError:
            pass
        failures += 1
        time.sleep(random.uniform(0.1, 0.5) * failures)
    sys.exit("unreachable")


def ask(text: str) -> None:
    """Submit and stream."""
    task = send(
        "POST",
        "/prompts/summarize/api",
        headers={"Idempotency-Key": str(uuid.uuid4())},
        json={"variables": {"text": text}, "lane": "interactive"},
    )
    print("task", task["task_id"], file=sys.stderr)
    follow(task["task_id"])


def follow(task_id: str) -> None:
    """Resume: print all of a task that was submitted before, by whatever way."""
    for event in events(task_id):
        match event["type"]:
            case "task.delta":
                print(event["text"], end="", flush=True)
            case "task.snapshot":  # in place of what there was
                print("\n" + event["text"], end="", flush=True)
            case "task.started" if event["attempt"] > 1:  # the text begins anew
                print()
            case "task.failed":
                sys.exit("\n{code}: {message}".format(**event["error"]))
            case "task.cancelled" | "task.expired":
                sys.exit(f"\n{event['type']}")
    print()


def cancel(task_id: str) -> None:
    send("POST", f"/tasks/{task_id}/cancel")


def run(name: str) -> None:
    """A run over a CSV file whose column `text` goes to the scene; the results beside it."""
    path = Path(name)
    with path.open("rb") as file:
        made = send(
            "POST",
            "/runs",
            headers={"Idempotency-Key": str(uuid.uuid4())},
            data={"scene": "summarize", "mapping": '{"text": "text"}', "start": "now"},
            files={"file": (path.name, file)},
        )
    while (now := send("GET", f"/runs/{made['id']}"))["ended_at"] is None:
        if now["reason"]:  # it cannot be started, or has paused, as at a limit
            sys.exit(f"{now['reason']}: {now['message']}")
        counts, left = now["counts"], now["eta_seconds"]
        done = counts["succeeded"] + counts["failed"]
        print(f"{done} of {counts['total']}, {now['cost']} spent, {left or '?'} s left")
        time.sleep(1)
    with (
        client.stream("GET", f"/api/llmchat/runs/{made['id']}/results?format=csv") as results,
        path.with_name(f"{path.name}.results.csv").open("wb") as file,
    ):
        file.writelines(checked(results).iter_bytes())
    for error in send("GET", f"/runs/{made['id']}/errors"):
        print("{rows} rows: {code}: {message}".format(**error), file=sys.stderr)
    if now["state"] != "done":
        sys.exit(f"{now['state']}: {now['message'] or now['reason']}")


COMMANDS = {"ask": ask, "follow": follow, "cancel": cancel, "run": run}

if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] not in COMMANDS or "AILY_KEY" not in os.environ:
        sys.exit(f"AILY_KEY=... python client.py {'|'.join(COMMANDS)} ARGUMENT")
    COMMANDS[sys.argv[1]](sys.argv[2])
