"""No list, filter or step of the queue reads a whole table that grows with use."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from auditlog.models import LogEntry
from django.db import connection, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django.plugin import DjangoDbBlocker

from accounts.models import User
from aily.database.backend.connection import BoundedConnection
from aily.database.rows import execute, fetch_column
from chat import retention, settlement
from chat.delivery import claims, outbox
from chat.models import (
    Conversation,
    Delivery,
    LedgerEntry,
    LLMModel,
    Message,
    Provider,
    Scene,
    Status,
    Task,
    WebhookEndpoint,
    Worker,
    flights,
    transitions,
)
from chat.models.conversations import AssistantTurn, store_assistant_turns
from chat.models.ids import uuid7
from chat.models.transitions import attempts
from chat.observability.gauges import QueueGauges
from chat.runner import recovery
from chat.services import catalog, history, limits, repeats
from tests.chat.routes import start_own
from tests.chat.rows import multiply
from tests.database_plugin import empty_tables

#: In each of the big tables. `make test` shows the choice between plans, `pytest -m slow` the same
#: with what PostgreSQL knows of a million tasks; that takes about two minutes.
FEW, MANY = 24_000, 1_000_000
BIG = {
    model._meta.db_table: model
    for model in (Task, Message, Conversation, LedgerEntry, Delivery, LogEntry)
}

# The heavy user has a twentieth of everything.
_OWNER = "CASE WHEN n % 20 = 0 THEN {heavy} ELSE {first} + n % 400 END"
_SOME_TIME = "now() - n * interval '40 seconds'"


class Site:
    """What the rows belong to."""

    rows: int
    heavy: User
    model: LLMModel
    scene: Scene
    endpoint: WebhookEndpoint
    conversation: Conversation

    @property
    def most_read(self) -> int:
        """No query may read more rows of a big table than this."""
        return self.rows // 4


@pytest.fixture(scope="module", params=[FEW, pytest.param(MANY, marks=pytest.mark.slow)])
def site(
    request: pytest.FixtureRequest, django_db_setup: None, django_db_blocker: DjangoDbBlocker
) -> Iterator[Site]:
    with django_db_blocker.unblock(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(BoundedConnection, "answer_seconds", None)
        site = Site()
        site.rows = request.param
        try:
            _fill(site)
            yield site
        finally:
            with connection.cursor() as cursor:
                cursor.execute(f"TRUNCATE {', '.join(BIG)} CASCADE")
            empty_tables()


def _fill(site: Site) -> None:
    site.heavy = User.objects.create_superuser("heavy")
    light = User.objects.bulk_create(User(username=f"user{n}") for n in range(400))
    provider = Provider.objects.create(name="acme", base_url="https://api.acme.example")
    models = [LLMModel.objects.create(name=f"m{n}", provider=provider) for n in range(10)]
    scenes = [Scene.objects.create(slug=f"s{n}", title="S") for n in range(20)]
    site.model, site.scene = models[0], scenes[0]
    worker = Worker.objects.create(hostname="h", pid=1, lease_until=timezone.now(), is_dead=True)
    owner = _OWNER.format(heavy=site.heavy.pk, first=light[0].pk)
    site.conversation = Conversation.objects.create(owner=site.heavy)
    times = {"created_at": _SOME_TIME, "updated_at": _SOME_TIME}
    multiply(site.conversation, site.rows, {"id": "uuidv7()", "owner_id": owner, **times})
    message = Message.objects.create(conversation=site.conversation, role="user", content="x" * 100)
    multiply(
        message,
        site.rows,
        {
            "id": "uuidv7()",
            "conversation_id": "uuidv7()",
        },
    )
    _fill_tasks(site, models, scenes, worker, owner)
    _fill_ledger(site, owner)
    _fill_deliveries(site, owner)
    logged = LogEntry.objects.log_create(site.scene, action=LogEntry.Action.UPDATE, changes={})
    assert logged is not None
    multiply(logged, site.rows, {"timestamp": _SOME_TIME, "actor_id": owner})
    with connection.cursor() as cursor:
        # Autovacuum may have analysed these tables while an earlier test had left them empty.
        cursor.execute("ANALYZE accounts_user, chat_llmmodel, chat_scene, chat_webhookendpoint")


def _fill_ledger(site: Site, owner: str) -> None:
    entry = LedgerEntry.objects.create(
        task_id=uuid7(), owner=site.heavy, model=site.model, kind="settle", currency="USD",
        at=timezone.now(),
    )  # fmt: skip
    multiply(
        entry,
        site.rows,
        {
            "task_id": "uuidv7()",
            "owner_id": owner,
            "model_id": f"{site.model.pk} + n % 10",
            "at": _SOME_TIME,
            "budget_id": "CASE WHEN n % 3 = 0 THEN 1 END",
        },
    )


def _fill_deliveries(site: Site, owner: str) -> None:
    site.endpoint = WebhookEndpoint.objects.create(owner=site.heavy, url="https://x.example")
    delivery = Delivery.objects.create(
        owner=site.heavy, kind="webhook", endpoint=site.endpoint, event="task.completed",
        state="delivered",
    )  # fmt: skip
    multiply(
        delivery,
        site.rows,
        {
            "id": "uuidv7()",
            "owner_id": owner,
            "endpoint_id": f"{site.endpoint.pk} + n % 100",
            "state": "CASE WHEN n % 1000 = 0 THEN 'pending' WHEN n % 1000 = 1 THEN 'failed'"
            " ELSE 'delivered' END",
            "next_attempt_at": "now()",
        },
    )


def _fill_tasks(
    site: Site, models: list[LLMModel], scenes: list[Scene], worker: Worker, owner: str
) -> None:
    prompt = [{"role": "user", "content": "x" * 200}]
    task = Task.objects.create(
        owner=site.heavy, model=site.model, scene=site.scene, status=Status.SUCCEEDED,
        messages=prompt, finished_at=timezone.now(),
    )  # fmt: skip
    multiply(
        task,
        site.rows,
        {
            "id": "uuidv7(-n * interval '40 seconds')",
            "owner_id": owner,
            "model_id": f"{models[0].pk} + n % 10",
            "scene_id": f"{scenes[0].pk} + n % 20",
            "conversation_id": "CASE WHEN n % 4 = 0 THEN uuidv7() END",
            # Many owners use the same keys.
            "idempotency_key": "'key' || CASE WHEN n % 20 = 0 THEN n ELSE n / 400 END",
            "lane": "CASE WHEN n % 3000 = 7 THEN 2 ELSE n % 2 END",
            "served_from": "CASE WHEN n % 1000 = 9 THEN 'cache' ELSE 'provider' END",
            "status": "CASE n % 500 WHEN 1 THEN 'queued' WHEN 2 THEN 'running' WHEN 3 THEN 'failed'"
            " WHEN 4 THEN 'cancelled' WHEN 5 THEN 'expired' ELSE 'succeeded' END",
            "worker_id": f"CASE WHEN n % 500 = 2 THEN '{worker.pk}'::uuid END",
            "needs_settling": "n % 500 IN (1, 2, 3)",
            "flight_key": "CASE WHEN n % 500 = 1 THEN md5(n::text) ELSE '' END",
            "deadline_at": "CASE WHEN n % 5000 = 1 THEN now() END",
            "created_at": _SOME_TIME,
            # Most tasks have none; the order is of few, the kind is of half of those that have any.
            "metadata": "CASE WHEN n % 4 > 0 THEN '{}'::jsonb ELSE jsonb_build_object('order',"
            " (n / 4)::text, 'kind', CASE WHEN n % 8 = 0 THEN 'even' ELSE 'odd' END) END",
            "finished_at": "CASE WHEN n % 500 NOT IN (1, 2) THEN " + _SOME_TIME + " END",
        },
    )


@pytest.fixture
def client(site: Site, db: None, monkeypatch: pytest.MonkeyPatch) -> Client:
    if site.rows == FEW:
        # Bounds of the admin's lists, in proportion to these tables.
        monkeypatch.setattr("aily.admin.lists.MAX_ROWS", site.most_read // 2)
        monkeypatch.setattr("aily.admin.lists.MAX_FILTERED_ROWS", site.most_read // 2)
    client = Client()
    client.force_login(site.heavy)
    return client


# --- Plans --------------------------------------------------------------------------------------
def faults(site: Site, work: Callable[[], Any]) -> list[str]:
    """What the queries that `work` sends read without an index, or for nothing."""
    with CaptureQueriesContext(connection) as captured:
        work()
    asked = [query["sql"] for query in captured]
    assert asked
    return [fault for sql in asked if _names_big(sql) for fault in _faults_of(sql, site.most_read)]


def _names_big(sql: str) -> bool:
    is_planned = sql.lstrip().upper().startswith(("SELECT", "WITH", "UPDATE", "DELETE", "(SELECT"))
    return is_planned and any(table in sql for table in BIG)


def _faults_of(sql: str, most_read: int) -> list[str]:
    """Run it as PostgreSQL would, and undo it."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("EXPLAIN (ANALYZE, FORMAT JSON) " + sql.replace("%", "%%"), ())
        [(plan,)] = cursor.fetchall()
        transaction.set_rollback(True)
    plan = json.loads(plan) if isinstance(plan, str) else plan
    return [f"{fault}\n  {sql}" for fault in _faults_in(plan[0]["Plan"], most_read)]


def _faults_in(node: dict[str, Any], most_read: int) -> Iterator[str]:
    table = node.get("Relation Name", "")
    loops = node["Actual Loops"]
    wasted = node.get("Rows Removed by Filter", 0) * loops
    read = wasted + node["Actual Rows"] * loops
    if table in BIG and read > most_read:
        by = node.get("Index Name", node["Node Type"])
        yield f"reads {read:.0f} rows of {table}, {wasted:.0f} of them in vain, by {by}"
    for child in node.get("Plans", []):
        yield from _faults_in(child, most_read)


# --- REST ---------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "query",
    [
        "",
        "?offset=1000",
        "?status=queued",
        "?status=failed",
        "?status=succeeded",
        "?active=true",
        "?active=false",
        "?scene=s1",
        "?lane=batch",
        "?lane=normal",
        "?created_after={hour}",
        "?created_before={hour}",
        "?created_before={long_ago}",
        "?conversation_id={conversation}",
        "?model=m1",
        "?api_key=1",
        "?metadata=order:77",
        "?metadata=kind:even",
        '?metadata={{"order": "77"}}',
        "?finished_after={hour}",
        "?finished_before={long_ago}",
        "?model=m1&metadata=kind:odd&created_after={hour}",
    ],
)
def test_a_list_of_tasks_goes_by_an_index(client: Client, site: Site, query: str) -> None:
    now = timezone.now()
    given = query.format(
        hour=f"{now - timedelta(hours=1):%Y-%m-%dT%H:%M:%SZ}",
        long_ago=f"{now - timedelta(days=900):%Y-%m-%dT%H:%M:%SZ}",
        conversation=site.conversation.pk,
    )
    assert faults(site, lambda: _get(client, f"/api/llmchat/tasks{given}")) == []


def _get(client: Client, path: str) -> None:
    assert client.get(path).status_code == 200, path


@pytest.mark.parametrize(
    "path",
    [
        "conversations",
        "conversations?ordering=created_at",
        "conversations?search=x",
        "conversations/{conversation}/messages",
        "conversations/{conversation}/messages?ordering=-created_at",
        "usage",
        "usage?group_by=model",
        "usage?group_by=scene",
        "usage?group_by=api_key",
        "usage?group_by=metadata&metadata_key=order",
        "usage?metadata=order:77&api_key=1&model=m1&scene=s1",
        "conversations?created_after=2020-01-01T00:00:00Z",
        "conversations?updated_before=2020-01-01T00:00:00Z",
        "conversations/{conversation}/messages?created_after=2020-01-01T00:00:00Z&role=user",
        "webhooks/{endpoint}/deliveries?event=task.failed&created_after=2020-01-01T00:00:00Z",
        "webhooks/{endpoint}/deliveries",
        "webhooks/{endpoint}/deliveries?ordering=created_at",
        "webhooks/{endpoint}/deliveries?task_id={conversation}",
        "webhooks/{endpoint}/deliveries?status=failed",
        "webhooks/{endpoint}/deliveries?status=pending",
    ],
)
def test_other_lists_go_by_an_index(client: Client, site: Site, path: str) -> None:
    given = path.format(conversation=site.conversation.pk, endpoint=site.endpoint.pk)
    assert faults(site, lambda: _get(client, f"/api/{given}")) == []


# --- The admin ----------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "path",
    [
        "chat/task/",
        "chat/task/?p=20",
        "chat/task/?_facets=True",
        *(f"chat/task/?status__exact={status}" for status in Status),
        "chat/task/?lane__exact=1",
        "chat/task/?lane__exact=2",
        "chat/task/?served_from__exact=cache",
        "chat/task/?served_from__exact=flight",
        "chat/task/?model__id__exact={model}",
        "chat/task/?created=hour",
        "chat/task/?scene__id__exact={scene}",
        "chat/task/?error=refused",
        "console/",
        "chat/task/?q=user7",
        "chat/task/?q=0193",
        "chat/ledgerentry/",
        "chat/ledgerentry/?entries=usage",
        "chat/ledgerentry/?entries=budgets",
        "chat/ledgerentry/?kind__exact=settle",
        "chat/ledgerentry/?kind__exact=release",
        "chat/ledgerentry/?is_estimated__exact=1",
        "chat/ledgerentry/?model__id__exact={model}",
        "chat/ledgerentry/?q=user7",
        "chat/conversation/",
        "chat/conversation/?q=user7",
        "chat/conversation/{conversation}/change/",
        "chat/delivery/",
        "chat/delivery/?state__exact=failed",
        "chat/delivery/?state__exact=pending",
        "chat/delivery/?kind__exact=email",
        "auditlog/logentry/",
    ],
)
def test_a_page_of_the_admin_goes_by_an_index(client: Client, site: Site, path: str) -> None:
    given = path.format(model=site.model.pk, scene=site.scene.pk, conversation=site.conversation.pk)
    assert faults(site, lambda: _get(client, f"/admin/{given}")) == []


# --- The queue ----------------------------------------------------------------------------------
def _some_task_ids(status: Status) -> list[UUID]:
    return list(Task.objects.filter(status=status).values_list("pk", flat=True)[:50])


STEPS: dict[str, Callable[[Site], Any]] = {
    "sweep": lambda site: recovery.requeue_missing(),
    "recovery": lambda site: transitions.recover(5),
    "expiry": lambda site: flights.expire(),
    "expiry of followers": lambda site: flights.expire_followers(),
    "stranded followers": lambda site: flights.end_stranded(),
    "leaders": lambda site: execute(flights._LEADERS, {"flight_keys": ["a" * 64]}),
    "successors": lambda site: flights.promote([uuid7()]),
    "fallbacks": lambda site: transitions.divert([site.model.pk]),
    "settling": lambda site: settlement.settle_ended_tasks(),
    "settling a conversation": lambda site: settlement.settle_conversation(site.conversation.pk),
    "deliveries due": lambda site: claims.claim(100),
    "mails of an hour": lambda site: outbox._mails_of_last_hour([site.heavy.pk]),
    "purge": lambda site: next(retention.purge(timezone.now() - timedelta(days=20)), None),
    "gauges": lambda site: list(QueueGauges("redis://127.0.0.1:1").from_rows()),
    "catalog": lambda site: catalog.look_up(["s1"], [site.heavy.pk]),
    "repeats": lambda site: repeats.find_by_key(
        [(site.heavy.pk, "key20"), (site.heavy.pk, "key40")]
    ),
    "histories": lambda site: history.read({(site.heavy.pk, site.conversation.pk)}),
    "answers": lambda site: store_assistant_turns(
        [AssistantTurn(site.conversation.pk, uuid7(), "text")], if_question_exists=True
    ),
    "starting": lambda site: start_own(uuid7(), site.model.pk, [str(uuid7())]),
    "cancelling": lambda site: transitions.cancel_queued([uuid7()]),
}


@pytest.mark.parametrize("name", STEPS)
def test_a_step_of_the_queue_goes_by_an_index(
    site: Site, db: None, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if site.rows == FEW:
        # Batches in proportion: of a hundredth of a table, reading all of it is right.
        monkeypatch.setattr("chat.settlement.BATCH", 20)
        monkeypatch.setattr("chat.retention.BATCH", 100)
    assert faults(site, lambda: STEPS[name](site)) == []


def test_a_look_for_an_idempotency_key_reads_rows_of_its_owner_only(site: Site, db: None) -> None:
    """Of 400 owners that use the same keys."""
    tasks = Task.objects.filter(idempotency_key="key7")
    keys = [
        (pk, "key7") for pk in tasks.exclude(owner=site.heavy).values_list("owner_id", flat=True)
    ]
    assert len(keys) > 300
    for asked in (keys[:1], keys[:200]):
        with CaptureQueriesContext(connection) as captured:
            assert repeats.find_by_key(asked).keys() == set(asked)
        assert len(captured) == 1
        assert _faults_of(captured[0]["sql"], most_read=len(asked)) == []


def test_a_history_is_read_no_further_than_it_may_be_sent(
    site: Site, db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "MAX_MESSAGES", 100)
    conversation = Conversation.objects.create(owner=site.heavy)
    Message.objects.bulk_create(
        Message(conversation=conversation, role="user", content="x" * 300) for _ in range(2_000)
    )
    wanted = {(site.heavy.pk, conversation.pk)}
    with CaptureQueriesContext(connection) as captured:
        (read,) = history.read(wanted).values()
    assert (len(read.messages), len(captured)) == (100, 1)
    assert _faults_of(captured[0]["sql"], most_read=2 * history.MAX_MESSAGES) == []


_RUSH = """
UPDATE chat_task SET status = 'running', worker_id = %s, attempt = 1
 WHERE id IN (SELECT id FROM chat_task WHERE status = 'succeeded' AND conversation_id IS NULL
                LIMIT %s) RETURNING id
"""


def test_a_rush_that_no_statistics_know_of_changes_no_plan(site: Site, db: None) -> None:
    """Indexes of active tasks are short at most times, and the planner uses statistics of those."""
    worker, user = Worker.objects.get(), User.objects.get(username="user7")
    running = fetch_column(UUID, _RUSH, [worker.pk, 2 * site.most_read])
    endings = [
        transitions.AttemptResult(id=pk, attempt=1, status=Status.SUCCEEDED, last_event=3)
        for pk in running[:5]
    ]
    assert faults(site, lambda: transitions.end(worker.pk, endings)) == []
    assert faults(site, lambda: limits._count_rows({user.pk})) == []


@pytest.mark.parametrize("sql", [attempts._START, attempts._END], ids=["start", "end"])
def test_a_prepared_plan_finds_tasks_by_their_ids(site: Site, db: None, sql: str) -> None:
    """Of statements whose plan does not know the parameters."""
    names = dict.fromkeys(re.findall(r"%\((\w+)\)s", sql))
    for number, name in enumerate(names, start=1):
        sql = sql.replace(f"%({name})s", f"${number}")
    with connection.cursor() as cursor:
        cursor.execute("EXPLAIN (GENERIC_PLAN) " + sql)
        plan = "\n".join(line for (line,) in cursor.fetchall())
    assert "Seq Scan on chat_task" not in plan
    assert re.search(r"Index Cond: \(\(?(t\.)?id = ANY", plan), plan
