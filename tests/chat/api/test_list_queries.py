"""Each list of the REST API costs as many queries for many rows as for one."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from accounts.models import APIKey, User
from chat.models import Conversation, Delivery, LLMModel, Scene
from chat.models.ids import tagged_id
from chat.services.scenes import create_version
from chat.tables.changes import Author
from chat.tables.models import Table
from chat.tables.rows.batch import Batch, apply_batch
from chat.tables.rows.operations import Create
from tests.chat.api.one_of_each import import_and_export, one_of_each
from tests.chat.api.operations import operations

_MORE = 3


def _lists() -> list[str]:
    """Paths of what is answered in pages, by the OpenAPI document."""
    return [
        path
        for (method, path), found in operations().items()
        if method == "GET" and "/Paged" in str(found["responses"]["200"])
    ]


def _add_more(root: User, model: LLMModel, known: dict[str, Any]) -> None:
    """More of everything, and more of what belongs to something."""
    for number in range(_MORE):
        more = one_of_each(root, model.provider, f"more-{number}")
        create_version(Scene.objects.get(slug=known["slug"]), None, {"user_template": "x"})
        conversation = Conversation.objects.get(pk=known["conversation_id"])
        conversation.messages.create(role="user", content="x")
        delivery = Delivery.objects.get(pk=known["delivery_id"])
        delivery.pk, delivery.task_id, delivery._state.adding = tagged_id(), more["task_id"], True
        delivery.save()
        table = Table.objects.get(pk=known["table_id"])
        apply_batch(table, Author(root.pk), Batch([Create({})]))
        import_and_export(root, table.pk)


def test_a_list_costs_as_many_queries_for_many_rows_as_for_one(
    transactional_db: None, model: LLMModel, queries: list[str], subtests: pytest.Subtests
) -> None:
    """All lists with the same rows, which take most of the time to make."""
    root = User.objects.create_superuser("root")
    known = one_of_each(root, model.provider, "first")
    import_and_export(root, known["table_id"])
    with_key = Client(headers={"Authorization": f"Bearer {APIKey.create(root, 'root')[1]}"})
    with_session = Client()
    with_session.force_login(root)

    def asked(path: str) -> tuple[int, int]:
        """Rows of the list, and queries."""
        # A key may not read what is below `me`.
        client = with_session if path.startswith("/api/me/") else with_key
        client.get("/api/me")  # who asks is cached from now on
        queries.clear()
        answer = client.get(path.format(**known))
        assert answer.status_code == 200, path
        return answer.json()["count"], len(queries)

    paths = _lists()
    assert paths
    first = {path: asked(path) for path in paths}
    _add_more(root, model, known)
    for path in paths:
        with subtests.test(path):
            few, asked_few = first[path]
            many, asked_many = asked(path)
            assert few >= 1
            assert many >= few + _MORE
            assert asked_many == asked_few <= 4
