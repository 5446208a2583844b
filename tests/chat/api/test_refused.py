"""Each operation of the REST API is refused without a login, and without the permission.

The table names every operation of the OpenAPI document: one that is added has to be put into it.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.test import Client

from accounts.models import MenuItem, User
from chat.models import LLMModel, Scene
from tests.chat.api.one_of_each import one_of_each, stored_rows, unmade
from tests.chat.api.operations import operations
from tests.conftest import ClientOf

#: Things of one's own: those of others are not found.
_OWN = """
GET /api/users/{user_id}
GET PATCH DELETE /api/keys/{key_id}
GET PATCH DELETE /api/webhooks/{endpoint_id}
POST /api/webhooks/{endpoint_id}/rotate
POST /api/webhooks/{endpoint_id}/test
GET /api/webhooks/{endpoint_id}/deliveries
GET /api/webhooks/{endpoint_id}/deliveries/{delivery_id}
POST /api/webhooks/{endpoint_id}/deliveries/{delivery_id}/redeliver
GET PATCH DELETE /api/conversations/{conversation_id}
GET /api/conversations/{conversation_id}/messages
GET /api/conversations/{conversation_id}/messages/{message_id}
GET /api/llmchat/tasks/{task_id}
GET /api/llmchat/tasks/{task_id}/events
POST /api/llmchat/tasks/{task_id}/cancel
GET /api/llmchat/tasks/{task_id}/tool-calls
GET POST /api/llmchat/tasks/{task_id}/tool-calls/{call_id}
GET PATCH DELETE /api/llmchat/runs/{run_id}
GET /api/llmchat/runs/{run_id}/rows
GET /api/llmchat/runs/{run_id}/errors
GET /api/llmchat/runs/{run_id}/results
POST /api/llmchat/runs/{run_id}/estimate
POST /api/llmchat/runs/{run_id}/try
POST /api/llmchat/runs/{run_id}/start
POST /api/llmchat/runs/{run_id}/pause
POST /api/llmchat/runs/{run_id}/resume
POST /api/llmchat/runs/{run_id}/cancel
POST /api/llmchat/runs/{run_id}/retry-failed
GET PATCH DELETE /api/tables/{table_id}
POST /api/tables/{table_id}:restore
GET /api/tables/{table_id}/changes
GET PUT /api/tables/{table_id}/shares
GET POST /api/tables/{table_id}/fields
GET PATCH DELETE /api/tables/fields/{field_id}
POST /api/tables/fields/{field_id}:restore
GET POST /api/tables/{table_id}/rows
GET PATCH DELETE /api/tables/{table_id}/rows/{row_id}
POST /api/tables/{table_id}/rows:batch
POST /api/tables/{table_id}/rows:query
POST /api/tables/{table_id}/rows:move
POST /api/tables/{table_id}:aggregate
POST /api/tables/{table_id}:undo
POST /api/tables/{table_id}:redo
POST /api/tables/{table_id}:open
GET POST /api/tables/{table_id}/views
GET PATCH DELETE /api/tables/views/{view_id}
POST /api/tables/views/{view_id}:open
GET /api/tables/snapshots/{snapshot_id}/rows
GET /api/tables/snapshots/{snapshot_id}/changes
GET POST /api/tables/{table_id}/ai-fields
GET PATCH DELETE /api/tables/ai-fields/{ai_field_id}
POST /api/tables/ai-fields/{ai_field_id}:restore
GET /api/tables/ai-fields/{ai_field_id}/states
POST /api/tables/ai-fields/{ai_field_id}:estimate
GET POST /api/tables/ai-fields/{ai_field_id}/runs
GET /api/tables/ai-fields/{ai_field_id}/comparisons
POST /api/tables/ai-fields/{ai_field_id}/comparisons
GET /api/tables/comparisons/{comparison_id}
POST /api/tables/comparisons/{comparison_id}:reveal
GET /api/tables/cells/{ai_field_id}/{row_id}
PUT /api/tables/cells/{ai_field_id}/{row_id}/review
GET /api/tables/{table_id}/runs
GET PATCH /api/tables/runs/{run_id}
GET /api/tables/runs/{run_id}/rows
GET /api/tables/runs/{run_id}/errors
POST /api/tables/runs/{run_id}:estimate
POST /api/tables/runs/{run_id}:try
POST /api/tables/runs/{run_id}:start
POST /api/tables/runs/{run_id}:pause
POST /api/tables/runs/{run_id}:resume
POST /api/tables/runs/{run_id}:cancel
POST /api/tables/runs/{run_id}:retry-failed
POST /api/tables/runs/{run_id}:revert
GET POST /api/tables/{table_id}/imports
GET PATCH DELETE /api/tables/imports/{import_id}
GET /api/tables/imports/{import_id}/report.csv
POST /api/tables/imports/{import_id}:start
POST /api/tables/imports/{import_id}:cancel
POST /api/tables/imports/{import_id}:undo
GET POST /api/tables/{table_id}/exports
GET DELETE /api/tables/exports/{export_id}
GET /api/tables/exports/{export_id}/file
POST /api/tables/exports/{export_id}:cancel
"""
#: A restricted scene is not found by who may not use it.
_RESTRICTED = """
POST /api/llmchat/prompts/{scene}/api
POST /api/llmchat/prompts/{scene}/stream
GET /api/scenes/{slug}
"""
#: What takes a permission that is granted by a role.
_GRANTED = """
POST /api/users
PATCH /api/users/{user_id}
GET POST /api/roles
GET PATCH DELETE /api/roles/{role_id}
GET POST /api/menus/items
GET PATCH DELETE /api/menus/items/{item_id}
GET POST /api/providers
GET PATCH DELETE /api/providers/{name}
GET POST /api/models
GET PATCH DELETE /api/models/{name}
GET POST /api/deployments
GET PATCH DELETE /api/deployments/{deployment_id}
GET /api/llmchat/pauses
PUT DELETE /api/llmchat/pauses/deployments/{deployment}
PUT DELETE /api/llmchat/pauses/models/{name}
PUT DELETE /api/llmchat/pauses/providers/{name}
GET POST /api/llmchat/tool-servers
GET PATCH DELETE /api/llmchat/tool-servers/{name}
POST /api/llmchat/tool-servers/{name}/refresh
POST /api/llmchat/tool-servers/{name}/operations
POST /api/llmchat/tool-servers/{name}/import
POST /api/llmchat/tools
GET PATCH DELETE /api/llmchat/tools/{name}
GET POST /api/budgets/items
GET PATCH DELETE /api/budgets/items/{budget_id}
POST /api/scenes
PATCH DELETE /api/scenes/{slug}
POST /api/scenes/{slug}/preview
POST /api/scenes/{slug}/live
GET POST /api/scenes/{slug}/versions
GET PATCH DELETE /api/scenes/{slug}/versions/{number}
POST /api/scenes/{slug}/versions/{number}/publish
"""
#: What every user may do, each for themselves. Lists have nothing of others.
_EVERYBODYS = """
GET /api/me
GET POST /api/keys
GET /api/users
GET /api/menus
GET POST /api/webhooks
GET PATCH /api/notifications
GET /api/usage
GET /api/budgets
GET POST /api/conversations
POST /api/llmchat/request
POST /api/llmchat/request/stream
GET /api/llmchat/tasks
GET POST /api/llmchat/runs
GET POST /api/tables
GET POST /api/tables/imports
GET /api/llmchat/tools
GET /api/scenes
"""
#: Operations that take a session: no API key may do them.
_SESSIONS = """
GET DELETE /api/me/sessions
DELETE /api/me/sessions/{session_id}
POST /api/me/password
"""


def _listed(table: str) -> set[tuple[str, str]]:
    lines = [line.split() for line in table.split("\n") if line]
    return {(method, path) for *methods, path in lines for method in methods}


@pytest.fixture
def known(bob: User, model: LLMModel) -> dict[str, Any]:
    """What Bob has, and staff made."""
    known = one_of_each(bob, model.provider, "bobs")
    scene, named = Scene.objects.get(slug="bobs"), LLMModel.objects.get(name="bobs")
    for row in (scene, named, MenuItem.objects.get(label="bobs")):
        row.is_restricted = True
        row.save()
    return {**known, **unmade(bob, known["table_id"], "bobs")}


def _ask(client: Client, operation: tuple[str, str], known: dict[str, Any]) -> int:
    """What the example of the document is answered, about what is there."""
    method, path = operation
    body = operations()[operation].get("requestBody", {}).get("content", {})
    example = body.get("application/json", {}).get("example", {})
    answer = client.generic(
        method, path.format(**known), json.dumps(example), content_type="application/json"
    )
    return answer.status_code


def test_the_table_names_every_operation() -> None:
    tables = [_listed(table) for table in (_OWN, _RESTRICTED, _GRANTED, _EVERYBODYS, _SESSIONS)]
    assert set.union(*tables) == set(operations())
    assert sum(map(len, tables)) == len(operations())


def test_nobody_may_do_anything(known: dict[str, Any]) -> None:
    before = stored_rows()
    answers = {operation: _ask(Client(), operation, known) for operation in operations()}
    assert answers == dict.fromkeys(answers, 401)
    assert stored_rows() == before


def test_another_user_may_do_nothing_with_what_is_not_theirs(
    alice: User, known: dict[str, Any], client_of: ClientOf
) -> None:
    client = client_of(alice)
    before = stored_rows()
    expected = dict.fromkeys(_listed(_OWN) | _listed(_RESTRICTED), 404)
    expected |= dict.fromkeys(_listed(_GRANTED) | _listed(_SESSIONS), 403)
    answers = {operation: _ask(client, operation, known) for operation in expected}
    assert answers == expected
    assert stored_rows() == before


def test_lists_of_ones_own_have_nothing_of_others(
    alice: User, known: dict[str, Any], client_of: ClientOf
) -> None:
    client = client_of(alice)
    for method, path in sorted(_listed(_EVERYBODYS)):
        if method == "GET":
            answer = client.get(path)
            assert answer.status_code == 200, path
            assert b"bobs" not in answer.content, path
            assert known["task_id"].encode() not in answer.content, path
            assert known["conversation_id"].encode() not in answer.content, path
