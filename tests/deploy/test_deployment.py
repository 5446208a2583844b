"""The shipped nginx, PgBouncer and Valkey configurations before the whole running system."""

from __future__ import annotations

import asyncio
import os
import re
import time
from contextlib import aclosing
from functools import partial
from io import BytesIO
from typing import Any

import httpx
import pytest
from websockets.exceptions import InvalidStatus

from chat.llm.simulator.answers import simulated_answer
from tests.client import PATIENCE_SECONDS, RestClient, chat_socket
from tests.deploy.deployment import DEPLOY, POOL_SIZE, Deployment
from tests.deploy.monitoring import dashboard_expressions, metric_names
from tests.deploy.rolling import roll
from tests.waiting import eventually

#: Half of an answer, and then nothing.
STALLS = "[sim:latency=0,tokens=60,tps=0,stall=middle]"
QUICK = "[sim:latency=0,tokens=20,tps=0]"


@pytest.fixture(scope="module")
def cookies(deployment: Deployment) -> dict[str, str]:
    """Of the staff's admin, logged in over nginx: once, as the form takes few guesses a minute."""
    with httpx.Client(
        base_url=deployment.base_url, verify=deployment.trust, timeout=PATIENCE_SECONDS
    ) as client:
        page = client.get("/login/").text
        token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page)
        assert token, page
        form = {"username": "admin", "password": "admin", "csrfmiddlewaretoken": token[1]}
        referer = {"Referer": f"{deployment.base_url}/login/"}
        answer = client.post("/login/", data=form, headers=referer)
        assert answer.status_code == 302, answer.text
        assert all("Secure" in header for header in answer.headers.get_list("Set-Cookie"))
        return dict(client.cookies)


# --- nginx --------------------------------------------------------------------------------------
async def test_a_task_over_rest_ends_within_the_request(rest: RestClient) -> None:
    prompt = f"Through nginx {QUICK}"
    body = {"messages": [{"role": "user", "content": prompt}]}
    answer = await rest.post("/api/llmchat/request?sync=true", body)
    assert answer.status == 200, answer
    assert answer.body["status"] == "succeeded"
    expected = simulated_answer({"model": "deepseek-flash", "messages": body["messages"]}).text
    assert answer.body["result"]["text"] == expected


async def test_events_pass_while_the_provider_is_silent(rest: RestClient) -> None:
    """A proxy that collected the stream would hold back the text before the stall."""
    body = {"messages": [{"role": "user", "content": f"Unbuffered {STALLS}"}]}
    events = rest.events("/api/llmchat/request/stream", "POST", json=body)
    async with aclosing(events):
        async for event in events:
            if event.event == "task.delta":
                task_id = event.data["task_id"]
                break
    assert (await rest.post(f"/api/llmchat/tasks/{task_id}/cancel")).status == 200


async def test_a_socket_with_a_key(deployment: Deployment) -> None:
    async with chat_socket(deployment.base_url, deployment.keys[0], ssl=deployment.trust) as socket:
        task_id = await socket.submit(f"Upgraded {QUICK}")
        frames = await socket.ended(task_id)
        frames.check_ids()
        assert frames.types[-1] == "task.completed"


async def test_a_socket_with_a_session_needs_the_origin_that_nginx_is_asked_for(
    deployment: Deployment, cookies: dict[str, str]
) -> None:
    headers = {"Cookie": "; ".join(f"{name}={value}" for name, value in cookies.items())}
    own = {**headers, "Origin": deployment.base_url}
    async with chat_socket(deployment.base_url, None, ssl=deployment.trust, headers=own) as socket:
        await socket.ping()
    for origin in ("https://evil.example", deployment.base_url.replace("https", "http")):
        with pytest.raises(InvalidStatus) as refused:
            async with chat_socket(
                deployment.base_url,
                None,
                ssl=deployment.trust,
                headers={**headers, "Origin": origin},
            ):
                pass
        assert refused.value.response.status_code == 403


async def test_plain_http_is_sent_to_https(deployment: Deployment) -> None:
    plain = f"http://127.0.0.1:{deployment.ports['http']}"
    async with RestClient(plain, None) as client:
        answer = await client.get("/login/?next=/", allow_redirects=False)
    assert answer.status == 308
    assert answer.headers["Location"] == "https://127.0.0.1/login/?next=/"


async def test_what_a_client_claims_to_be_forwarded_is_dropped(rest: RestClient) -> None:
    """aily would send somebody who came by http to https, over and over."""
    claims = {"X-Forwarded-Proto": "http", "X-Forwarded-For": "1.2.3.4"}
    answer = await rest.get("/api/llmchat/tasks", headers=claims, allow_redirects=False)
    assert answer.status == 200


async def test_a_body_that_is_too_large_is_refused_in_ailys_words(rest: RestClient) -> None:
    as_json = {"Content-Type": "application/json"}
    path = "/api/llmchat/request"
    answer = await rest.call("POST", path, data=BytesIO(b" " * 1_048_577), headers=as_json)
    assert answer.status == 413
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.body["code"] == "too_large"
    # The largest one that nginx passes on is aily's to judge.
    answer = await rest.call("POST", path, data=BytesIO(b" " * 1_048_576), headers=as_json)
    assert answer.status == 400


async def test_static_files_come_from_nginx(deployment: Deployment, rest: RestClient) -> None:
    static = deployment.root / "aily" / "static"
    # aily's own list of files is made when it starts, so only nginx can know these.
    (static / "late.0123456789ab.css").write_text("body {}")
    (static / "late.css").write_text("body {}")
    hashed = await rest.get("/static/late.0123456789ab.css")
    assert hashed.status == 200
    assert hashed.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    plain = await rest.get("/static/late.css")
    assert plain.headers["Cache-Control"] == "public, max-age=60"
    assert (await rest.get("/static/nothing.css")).status == 404
    assert (await rest.get("/static/../secret_key")).status == 404


async def _get(deployment: Deployment, path: str) -> int:
    async with RestClient(deployment.base_url, None, deployment.trust) as client:
        return (await client.get(path)).status


async def test_probes_are_not_for_the_world(deployment: Deployment) -> None:
    assert await _get(deployment, "/readyz") == 404


# --- PgBouncer ----------------------------------------------------------------------------------
async def test_forms_of_the_admin_work_behind_pgbouncer(
    rest: RestClient, cookies: dict[str, str]
) -> None:
    """Each select box is a query of its own, that may get another connection."""
    headers = {"Authorization": "", "Cookie": f"sessionid={cookies['sessionid']}"}
    pages = await asyncio.gather(
        *(rest.get("/admin/chat/llmmodel/add/", headers=headers) for _ in range(12))
    )
    assert {page.status for page in pages} == {200}
    # The provider of the demo content beside "none".
    assert {page.body.count(b"<option") >= 2 for page in pages} == {True}


async def test_tables_change_while_they_are_used_behind_pgbouncer(rest: RestClient) -> None:
    """Each statement may get another connection: none relies on what another one has set, and no
    plan of before a change of the columns is used after it."""
    fields = [{"name": "Text", "kind": "text"}, {"name": "Number", "kind": "text"}]
    made = (await rest.post("/api/tables", {"name": "Pooled", "fields": fields})).body
    path, (text, number) = f"/api/tables/{made['id']}", [field["key"] for field in made["fields"]]

    async def write(begin: int) -> int:
        operations = [
            {"op": "create", "values": {text: f"Row {n}", number: str(n)}}
            for n in range(begin, begin + 25)
        ]
        return (await rest.post(f"{path}/rows:batch", {"operations": operations})).status

    async def add_field(place: int) -> int:
        return (await rest.post(f"{path}/fields", {"name": f"F{place}", "kind": "integer"})).status

    async def read() -> int:
        body = {"sorts": [{"field": text}], "limit": 50}
        return (await rest.post(f"{path}/rows:query", body)).status

    statuses = await asyncio.gather(
        *(write(n * 25) for n in range(8)), *map(add_field, range(4)), *(read() for _ in range(8))
    )
    # A change of the columns waits for its lock for a short time only, and then says so.
    assert {status for status in statuses if status not in (200, 201)} <= {503}
    assert statuses[:8] == [200] * 8
    [numbers] = [field["id"] for field in made["fields"] if field["key"] == number]
    changed = await rest.call("PATCH", f"/api/tables/fields/{numbers}", json={"kind": "integer"})
    assert changed.status in (200, 202), changed

    async def found() -> list[Any] | None:
        body = {"sorts": [{"field": number}], "limit": 200}
        answer = await rest.post(f"{path}/rows:query", body)
        assert answer.status == 200, answer
        values = [row["values"][number] for row in answer.body["items"]]
        return values if values == list(range(200)) else None

    await eventually(found, "integers in their order")
    opened = await rest.post(f"{path}:open", {})
    assert (opened.status, opened.body["count"]) == (200, 200)


async def test_files_and_runs_of_tables_pass_pgbouncer(rest: RestClient) -> None:
    """COPY, temporary settings and long transactions, each on whichever connection is free."""
    rows = 300
    lines = "".join(f'"Row {number} {QUICK}",{number}\n' for number in range(rows))
    query = {"file_name": "rows.csv", "name": "Carried"}
    body = f"Text,Number\n{lines}".encode()
    headers = {"Content-Type": "application/octet-stream"}
    path = "/api/tables/imports"
    sent = await rest.call("POST", path, params=query, data=body, headers=headers)
    assert sent.status == 201, sent

    async def reached(path: str, state: str) -> Any:
        answer = await rest.get(path)
        assert answer.body["state"] not in ("failed", "cancelled"), answer.body
        return answer.body if answer.body["state"] == state else None

    own = f"{path}/{sent.body['id']}"
    await eventually(partial(reached, own, "ready"), "the file is read", 30)
    assert (await rest.post(f"{own}:start", {})).status == 200
    done = await eventually(partial(reached, own, "done"), "the import", 30)
    table = f"/api/tables/{done['table']}"
    text = (await rest.get(table)).body["fields"][0]["key"]
    field = {"name": "Answer", "scene": "summarize", "mapping": {"text": text}}
    ai_field = (await rest.post(f"{table}/ai-fields", field)).body
    run = {"start": "now", "scope": {"first": 40}}
    made = await rest.post(f"/api/tables/ai-fields/{ai_field['id']}/runs", run)
    assert made.status == 201, made
    exported = await rest.post(f"{table}/exports", {"format": "csv", "provenance": True})
    export = f"/api/tables/exports/{exported.body['id']}"
    await eventually(partial(reached, export, "done"), "the export", 30)
    file = await rest.get(f"{export}/file")
    assert file.body.decode("utf-8-sig").count(QUICK) == rows
    ended = partial(reached, f"/api/tables/runs/{made.body['id']}", "done")
    assert (await eventually(ended, "the run", 60))["counts"]["succeeded"] == 40


async def test_a_repeated_submit_gives_the_same_task(rest: RestClient) -> None:
    """At the same moment over both web processes: what decides is the lock in the database."""
    body = {"title": "once"}
    headers = {"Idempotency-Key": "deploy-once"}
    answers = await asyncio.gather(
        *(rest.post("/api/conversations", body, headers=headers) for _ in range(8))
    )
    assert {answer.status for answer in answers} <= {201, 409}
    assert len({answer.body["id"] for answer in answers if answer.status == 201}) == 1


async def test_hot_statements_are_prepared_where_pgbouncer_keeps_them(
    deployment: Deployment, rest: RestClient
) -> None:
    """Compose's PgBouncer does. By its console: of each connection to PostgreSQL, how many are
    prepared in it."""
    assert 'DATABASE_PREPARED_STATEMENTS: "true"' in (DEPLOY / "compose.yaml").read_text()
    body = {"messages": [{"role": "user", "content": f"Prepared {QUICK}"}]}
    answer = await rest.post("/api/llmchat/request?sync=true", body)
    assert answer.body["status"] == "succeeded", answer
    found = _console(deployment, "SHOW SERVERS")
    prepared = sum(int(server.get("prepared_statements", 0)) for server in found)
    assert (prepared > 0) is deployment.prepares_statements, found


def test_all_processes_share_few_connections(deployment: Deployment) -> None:
    with deployment.connect() as connection:
        sessions = connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = %s", [deployment.database]
        ).fetchone()
    assert sessions is not None
    assert 1 <= sessions[0] <= POOL_SIZE + 5
    clients = _console(deployment, "SHOW CLIENTS")
    # Two web processes, two workers and the client.
    assert len([client for client in clients if client["database"] == deployment.database]) >= 4


def _console(deployment: Deployment, command: str) -> list[dict[str, Any]]:
    """What PgBouncer's own console answers."""
    with deployment.connect("pgbouncer") as console:
        console.prepare_threshold = None
        cursor = console.execute(command.encode())
        columns = [column.name for column in cursor.description or ()]
        return [dict(zip(columns, row, strict=True)) for row in cursor.fetchall()]


# --- Valkey -------------------------------------------------------------------------------------
def test_the_queue_never_forgets_and_the_cache_may(deployment: Deployment) -> None:
    with deployment.redis("queue") as queue, deployment.redis("cache") as cache:
        assert queue.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        assert queue.config_get("append*")["appendonly"] == "yes"
        assert queue.config_get("append*")["appendfsync"] == "everysec"
        assert cache.config_get("maxmemory-policy") == {"maxmemory-policy": "allkeys-lru"}
        assert cache.config_get("append*")["appendonly"] == "no"
        # The sessions of the tests before, and nothing of the queue.
        assert cache.dbsize() > 0
        assert queue.info("keyspace").keys() >= {"db0", "db1"}


# --- Prometheus -----------------------------------------------------------------------------------
def test_prometheus_reads_everybody_and_finds_every_metric_it_asks_for(
    deployment: Deployment,
) -> None:
    ports = deployment.metrics_ports

    def served() -> set[str]:
        scrapes = [
            httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=30).text
            for port in ports.values()
        ]
        return set(re.findall(r"^# TYPE (\w+)", "\n".join(scrapes), re.MULTILINE))

    # The exporter asks PostgreSQL and Redis in the background, and knows of no pool at first.
    deployment.wait("exporter", lambda: _assert_equal(metric_names() - served(), set()))

    prometheus = f"http://127.0.0.1:{deployment.ports['prometheus']}/api/v1"
    with httpx.Client(timeout=PATIENCE_SECONDS) as client:

        def answer(path: str, **parameters: str) -> Any:
            response = client.get(f"{prometheus}/{path}", params=parameters).json()
            assert response["status"] == "success", (parameters, response)
            return response["data"]

        def up() -> set[str]:
            found = answer("query", query="up == 1")["result"]
            return {series["metric"]["instance"] for series in found}

        deployment.wait("prometheus", lambda: _assert_equal(len(up()), len(ports)))
        groups = answer("rules")["groups"]
        assert [
            rule for group in groups for rule in group["rules"] if rule["health"] == "err"
        ] == []
        for expression in dashboard_expressions():
            answer("query", query=expression)


def _assert_equal(found: object, wanted: object) -> None:
    if found != wanted:
        raise OSError(f"{found} instead of {wanted}")


# --- Updates --------------------------------------------------------------------------------------
def _restart_all(deployment: Deployment, rounds: int) -> None:
    """Each process by itself, as `systemctl restart` of one unit after another."""
    for _ in range(rounds):
        for name in ("web-0", "worker-0", "web-1", "worker-1"):
            began = time.monotonic()
            deployment.restart(name)
            print(f"  {name} restarted in {time.monotonic() - began:.1f} s", flush=True)


@pytest.mark.slow
async def test_a_rolling_restart_under_load_is_not_noticed(deployment: Deployment) -> None:
    """AILY_ROLLING_ROUNDS=20 and AILY_ROLLING_USERS=10 make a long one of it."""
    rounds, users = (
        int(os.environ.get(f"AILY_ROLLING_{name}", default))
        for name, default in (("ROUNDS", 1), ("USERS", 2))
    )
    problems = await roll(deployment, partial(_restart_all, deployment, rounds), users=users)
    assert problems == []
    statuses = re.findall(r'" (5\d\d) ', deployment.log("nginx"))
    assert statuses == []


# --- Last, as nobody can log in for a while after it ----------------------------------------------
async def test_the_login_form_takes_few_guesses_at_once(deployment: Deployment) -> None:
    async with RestClient(deployment.base_url, None, deployment.trust) as client:
        answers = await asyncio.gather(*(client.post("/login/") for _ in range(12)))
    assert [answer.status for answer in answers].count(429) >= 5
    assert (await _get(deployment, "/login/")) == 200
