"""The demo table: there after `make run`, once, and as its users left it."""

from __future__ import annotations

import pytest
from django.core.management import call_command
from pytest_django import Settings

from accounts.models import User
from aily.database.threads import in_database
from chat.llm.simulator.server import Simulator
from chat.models import Scene
from chat.tables.ai.fields import live_ai_fields
from chat.tables.demo.seeding import TICKETS
from chat.tables.models import Field, Table, View
from tests.chat.conftest import StartWorker
from tests.chat.runs.conftest import turns_until
from tests.chat.tables.transfers import rows_of
from tests.conftest import ClientOf


@pytest.fixture(autouse=True)
def _no_key(transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DEEPSEEK_API_KEY", raising=False)


def test_the_demo_has_a_table_of_tickets_with_two_ai_fields(client_of: ClientOf) -> None:
    call_command("seed_demo")
    demo = User.objects.get(username="demo")
    table = Table.objects.get(owner=demo)
    assert table.row_count == TICKETS
    triage, reply = live_ai_fields(table.pk)
    assert (triage.scene, reply.scene) == ("classify-ticket", "draft-reply")
    names = list(Field.objects.filter(table=table).values_list("name", flat=True))
    assert names[-3:] == ["Category", "Urgency", "Draft reply"]
    rows = rows_of(client_of(demo), table.pk)
    assert len(rows) == TICKETS
    assert len({row["Message"] for row in rows}) > TICKETS * 0.9
    assert {row["Language"] for row in rows} == {1, 2}
    assert not any("{" in row["Message"] for row in rows)
    assert View.objects.filter(table=table).count() == 3
    # What its users change or delete stays so.
    table.delete()
    call_command("seed_demo")
    assert not Table.objects.exists()


def test_without_its_scenes_the_table_is_there_all_the_same() -> None:
    Scene.objects.create(slug="classify-ticket", title="Ours, not published")
    call_command("seed_demo")
    table = Table.objects.get()
    assert (table.row_count, live_ai_fields(table.pk)) == (TICKETS, [])


async def test_its_ai_fields_are_filled_one_after_the_other(
    client_of: ClientOf, settings: Settings, simulator: Simulator, start_worker: StartWorker
) -> None:
    settings.SIMULATOR_URL = simulator.url
    await in_database(call_command, "seed_demo")
    await start_worker()
    demo = await in_database(User.objects.get, username="demo")
    client = await in_database(client_of, demo)
    table = await in_database(Table.objects.get)
    [triage, reply] = await in_database(live_ai_fields, table.pk)
    body = {"scope": {"first": 3}, "start": "now", "also": [triage.pk]}
    made = await in_database(
        client.post, f"/api/tables/ai-fields/{reply.pk}/runs", body, "application/json"
    )
    assert made.status_code == 201, made.content
    for run in made.json()["runs"]:
        await turns_until(run["id"], "done")
    rows = await in_database(rows_of, client, table.pk)
    assert all(row["Draft reply"] and row["Category"] and row["Urgency"] for row in rows[:3])
    assert rows[3]["Draft reply"] is None
