"""REST: limits in headers and problem documents."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connections, transaction
from django.db.models import Model
from pytest_django import Settings

from accounts.models import User
from aily.database.threads import in_database
from aily.problems import Problem
from chat.models import LLMModel, Run, StoredFile, Task
from chat.models.files import FileWriter
from chat.openai.errors import OpenAIError
from chat.openai.files import store
from chat.runs.creation import NewRun, create_run
from chat.services import limits
from chat.tables import stored_views
from chat.tables.exports.control import begin
from chat.tables.fields import NewField
from chat.tables.imports.creation import NewImport, create_import
from chat.tables.models import Export, Import, Table, View
from chat.tables.stored_views import create_view
from chat.tables.tables import create_table
from tests.chat.api.conftest import API, Api
from tests.locks import wait_for_a_lock

BODY = {"messages": [{"role": "user", "content": "Hi"}]}


@pytest.fixture(autouse=True)
def _fresh_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "_depths", limits.Depths())


async def test_rest_answers_say_where_the_rate_stands(api: Api, settings: Settings) -> None:
    settings.RATE_LIMIT_PER_MINUTE = 3
    answers = [await api.post(f"{API}/request", BODY) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [202, 202, 202, 429]
    assert {answer["RateLimit-Policy"] for answer in answers} == {'"requests";q=3;w=60'}
    left = [answer["RateLimit"].split(";")[1] for answer in answers]
    assert left == ["r=2", "r=1", "r=0", "r=0"]
    refused = answers[-1]
    assert refused.json()["code"] == "rate_limited"
    assert refused.json()["limit"] == {"name": "requests_per_minute", "value": 3}
    assert 1 <= int(refused["Retry-After"]) <= 600
    assert await in_database(Task.objects.count) == 3
    assert (await api.get(f"{API}/tasks")).status_code == 200


async def test_a_full_queue_is_a_problem_document_with_retry_after(
    api: Api, settings: Settings
) -> None:
    settings.MAX_QUEUED_PER_USER = 1
    await api.post(f"{API}/request", BODY)
    refused = await api.post(f"{API}/request", BODY)
    assert (refused.status_code, refused.json()["code"]) == (429, "queue_full")
    assert refused["Content-Type"] == "application/problem+json"
    assert 1 <= int(refused["Retry-After"]) <= 600
    assert refused["RateLimit"].startswith('"requests";r=')


# --- Of two at once, one gets the last room -------------------------------------------------------
def _make_table(owner: User) -> None:
    create_table(owner, "T", [NewField("A", "text")])


def _make_view(owner: User) -> None:
    create_view(owner, Table.objects.get(), {"name": "V"})


def _make_export(owner: User) -> None:
    begin(owner, Table.objects.get(), None, "csv", {})


def _make_import(owner: User) -> None:
    create_import(NewImport(owner.pk, None, "a.csv", "New"), [b"A\n1\n"])


def _make_run(owner: User) -> None:
    create_run(owner.pk, None, NewRun("R", "csv"), [b"A\n1\n"])


def _make_file(owner: User) -> None:
    writer = FileWriter(owner.pk, "F")
    writer.append(b"{}")
    try:
        store.publish(owner.pk, writer, "batch", None, "F")
    except OpenAIError:
        writer.discard()
        raise


#: What is made, of which there may be one, and its rows.
MAKERS: dict[str, tuple[Callable[[User], None], type[Model]]] = {
    "TABLES_MAX_PER_USER": (_make_table, Table),
    "EXPORTS_MAX_PER_USER": (_make_export, Export),
    "IMPORTS_MAX_PER_USER": (_make_import, Import),
    "RUNS_MAX_PER_USER": (_make_run, Run),
    "MAX_VIEWS": (_make_view, View),
    "MAX_FILES": (_make_file, StoredFile),
}


@pytest.mark.parametrize("limit", MAKERS)
def test_of_two_at_once_only_one_gets_the_last_room(
    alice: User, model: LLMModel, settings: Settings, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    make, kind = MAKERS[limit]
    if kind in (View, Export):
        _make_table(alice)
    if limit.endswith("PER_USER"):
        setattr(settings, limit, 1)
    else:
        monkeypatch.setattr(store if kind is StoredFile else stored_views, limit, 1)

    def make_second() -> None:
        try:
            make(alice)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(1) as threads:
        with transaction.atomic():
            make(alice)
            second = threads.submit(make_second)
            wait_for_a_lock(or_until=second.done)
        assert isinstance(second.exception(30), Problem | OpenAIError)
    assert kind._default_manager.count() == 1
