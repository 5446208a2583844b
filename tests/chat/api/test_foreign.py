"""What belongs to another user is answered like what is not there, wherever REST is given its id.

Paths come from the OpenAPI document: an operation that is added is tried by itself. Ids in bodies
are listed here, and a new field that names something fails the test until it is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from accounts.models import User
from chat.tables.imports.creation import NewImport, create_import
from chat.tables.models import Change, Table
from tests.chat.api.foreign import ASKED, Call, Known, absent, seen
from tests.chat.api.foreign import own as own
from tests.chat.api.foreign import theirs as theirs
from tests.chat.api.one_of_each import stored_rows
from tests.chat.api.operations import operations, schemas
from tests.chat.tables.transfers import work
from tests.conftest import ClientOf

JSON = "application/json"
_PARAMETER = re.compile(r"{(\w+)}")
#: Parameters of paths that name things of one owner.
_OWNED = {
    *("ai_field_id", "call_id", "comparison_id", "conversation_id", "delivery_id", "endpoint_id"),
    *("export_id", "field_id", "import_id", "key_id", "message_id", "run_id", "session_id"),
    *("snapshot_id", "table_id", "task_id", "view_id"),
}


def _ask(client: Client, call: Call) -> Any:
    method, path, body = call
    return client.generic(method, path, json.dumps(body), content_type=JSON)


def _counted(client: Client, call: Call) -> tuple[Any, int]:
    """The answer, and how many statements it took."""
    with CaptureQueriesContext(connection) as statements:
        answer = _ask(client, call)
    return answer, len(statements)


class _Costs:
    """Statements of requests about another's things, and about none: a request that takes more of
    them takes longer, which would give away that a thing is there."""

    #: What is cached is read again now and then, so a difference has to show each time.
    TIMES = 3

    def __init__(self, client: Client) -> None:
        self._client = client
        self.counted = 0
        self.differing: dict[str, tuple[int, int]] = {}

    def compare(self, name: str, foreign: Call, missing: Call) -> tuple[Any, Any]:
        """Ask both. Returns the answers."""
        found, found_cost = _counted(self._client, foreign)
        none, none_cost = _counted(self._client, missing)
        self.counted += none_cost
        times = 1
        while found_cost != none_cost and times < self.TIMES:
            found_cost, none_cost = (_counted(self._client, call)[1] for call in (foreign, missing))
            times += 1
        if found_cost != none_cost:
            self.differing[name] = (found_cost, none_cost)
        return found, none


def _example(operation: tuple[str, str]) -> Any:
    body = operations()[operation].get("requestBody", {}).get("content", {})
    return body.get(JSON, {}).get("example", {})


def _named() -> list[tuple[str, str]]:
    """The operations whose path names something of one owner."""
    return [
        operation
        for operation in operations()
        if _OWNED & set(_PARAMETER.findall(operation[1])) and "/api/me/" not in operation[1]
    ]


# --- Paths --------------------------------------------------------------------------------------
def test_nothing_tells_what_is_anothers_from_what_is_not_there(
    alice: User, theirs: Known, client_of: ClientOf
) -> None:
    client, missing = client_of(alice), absent(theirs)
    before = stored_rows()
    differing, costs = {}, _Costs(client)
    for method, template in _named():
        body, name = _example((method, template)), f"{method} {template}"
        foreign, absent_one = (
            (method, template.format(**known), body) for known in (theirs, missing)
        )
        answers = costs.compare(name, foreign, absent_one)
        found, none = (seen(answer, theirs, missing) for answer in answers)
        if found != none or found[0] != 404:
            differing[name] = (found, none)
    assert differing == {}
    assert costs.differing == {}
    assert costs.counted > 50
    assert stored_rows() == before


def test_what_is_anothers_is_not_found_below_ones_own(
    alice: User, own: Known, theirs: Known, client_of: ClientOf
) -> None:
    """Such as another's row in one's own table."""
    client = client_of(alice)
    before = stored_rows()
    statuses = {}
    for method, template in _named():
        parameters = _PARAMETER.findall(template)
        if len(parameters) < 2:
            continue
        path = template.format(**{**own, parameters[-1]: theirs[parameters[-1]]})
        if parameters[-1] == "row_id":
            # Rows count from 1 in each table.
            path = template.format(**{**theirs, "row_id": own["row_id"]})
        statuses[path] = _ask(client, (method, path, _example((method, template)))).status_code
    assert len(statuses) > 6
    assert {path: status for path, status in statuses.items() if status != 404} == {}
    assert stored_rows() == before


# --- Bodies -------------------------------------------------------------------------------------
#: Fields that name something by an id, or by a name that only some may use.
_NAMING = re.compile(
    r"\w+_id|view|webhook|replaces|also|batch|change|key_field|mapping|truth|scene"
    r"|\w*models?|fallbacks"
)
#: Such fields that name nothing of aily's, or that only staff send (test_permissions.py).
_NOT_OWNED = {"file_id", "tool_call_id", "oauth_client_id", "fallback_models", "only_models"}


def _references(own: Known, known: Known) -> dict[str, Call]:
    """A request about something of one's own, by the field of its body that names `known`."""
    return {
        **_of_requests(own, known),
        **_of_tables(own, known),
        **_of_transfers(own, known),
        **_of_ai_fields(own, known),
    }


def _of_requests(own: Known, known: Known) -> dict[str, Call]:
    request, prompt = "/api/llmchat/request", f"/api/llmchat/prompts/{own['slug']}/api"
    talk = {**ASKED, "conversation_id": known["conversation_id"]}
    replacing = {
        **ASKED,
        "conversation_id": own["conversation_id"],
        "replaces": known["task_id"],
    }
    filled = {"variables": {"text": "x"}}
    webhook = {"webhook": known["endpoint_id"]}
    run = {"name": "x", "format": "csv", "scene": own["slug"], "rows": [{"text": "x"}]}
    return {
        "request.conversation_id": ("POST", request, talk),
        "stream.conversation_id": ("POST", f"{request}/stream", talk),
        "request.replaces": ("POST", request, replacing),
        "request.webhook": ("POST", request, {**ASKED, **webhook}),
        "request.scene": ("POST", request, {**filled, "scene": known["slug"]}),
        "request.model": ("POST", request, {**ASKED, "model": known["name"]}),
        "request.fallbacks": ("POST", request, {**ASKED, "fallbacks": [known["name"]]}),
        "prompt.webhook": ("POST", prompt, {**filled, **webhook}),
        "run.webhook": ("POST", "/api/llmchat/runs", {**run, **webhook}),
        "run.scene": ("POST", "/api/llmchat/runs", {**run, "scene": known["slug"]}),
    }


def _of_tables(own: Known, known: Known) -> dict[str, Call]:
    table, field = f"/api/tables/{own['table_id']}", f"f{known['field_id']}"
    linking = {"name": "Link", "kind": "link", "options": {"table": known["table_id"]}}
    condition = {"field": field, "op": "not_empty"}
    upsert = {"operations": [{"op": "upsert", "values": {}}], "key": field}
    return {
        "table.link": ("POST", "/api/tables", {"name": "New", "fields": [linking]}),
        "field.link": ("POST", f"{table}/fields", linking),
        "row.values": ("POST", f"{table}/rows", {"values": {field: "x"}}),
        "batch.key": ("POST", f"{table}/rows:batch", upsert),
        "query.filter": ("POST", f"{table}/rows:query", {"filter": condition}),
        "query.sorts": ("POST", f"{table}/rows:query", {"sorts": [{"field": field}]}),
        "query.fields": ("POST", f"{table}/rows:query", {"fields": [field]}),
        "aggregate.groups": ("POST", f"{table}:aggregate", {"groups": [field]}),
        "aggregate.aggregates": ("POST", f"{table}:aggregate", {"aggregates": {field: "sum"}}),
        "view.filter": ("POST", f"{table}/views", {"name": "x", "filter": condition}),
        "view.hidden": ("POST", f"{table}/views", {"name": "x", "hidden": [field]}),
        "open.filter": ("POST", f"{table}:open", {"filter": condition}),
        "undo.change": ("POST", f"{table}:undo", {"change": known["change_id"]}),
        "undo.batch": ("POST", f"{table}:undo", {"batch": known["import_id"]}),
    }


def _of_transfers(own: Known, known: Known) -> dict[str, Call]:
    exports, field = f"/api/tables/{own['table_id']}/exports", f"f{known['field_id']}"
    job, own_field = f"/api/tables/imports/{own['ready_id']}", f"f{own['field_id']}"
    by = {"mapping": [{"field": own_field, "by": field}]}
    return {
        "export.view": ("POST", exports, {"format": "csv", "view": known["view_id"]}),
        "export.fields": ("POST", exports, {"format": "csv", "fields": [field]}),
        "import.mapping": ("PATCH", job, {"mapping": [{"field": field}]}),
        "import.by": ("PATCH", job, by),
        "import.key_field": ("PATCH", job, {"key_field": field}),
    }


def _of_ai_fields(own: Known, known: Known) -> dict[str, Call]:
    fields, field = f"/api/tables/{own['table_id']}/ai-fields", f"f{known['field_id']}"
    ai_field, view = f"/api/tables/ai-fields/{own['ai_field_id']}", {"view": known["view_id"]}
    new = {"name": "New", "scene": own["slug"], "mapping": {"text": f"f{own['field_id']}"}}
    condition = {"condition": {"field": field, "op": "not_empty"}}
    compared: dict[str, Any] = {"a": {}, "b": {}, "rows": 1}
    comparisons, also = f"{ai_field}/comparisons", {"also": [known["ai_field_id"]]}
    model, truth = {"model": known["name"]}, {"truth": {field: field}}
    return {
        "ai_field.scene": ("POST", fields, {**new, "scene": known["slug"]}),
        "ai_field.model": ("POST", fields, {**new, **model}),
        "ai_field.mapping": ("POST", fields, {**new, "mapping": {"text": field}}),
        "ai_field.condition": ("POST", fields, {**new, **condition}),
        "changed.mapping": ("PATCH", ai_field, {"mapping": {"text": field}}),
        "estimate.view": ("POST", f"{ai_field}:estimate", {"scope": view}),
        "ai_run.view": ("POST", f"{ai_field}/runs", {"scope": view}),
        "ai_run.also": ("POST", f"{ai_field}/runs", also),
        "ai_run.webhook": ("POST", f"{ai_field}/runs", {"webhook": known["endpoint_id"]}),
        "comparison.view": ("POST", comparisons, {**compared, "scope": view}),
        "comparison.model": ("POST", comparisons, {**compared, "a": model}),
        "comparison.truth": ("POST", comparisons, {**compared, **truth}),
    }


@pytest.fixture
def own_references(alice: User, own: Known) -> Known:
    """`own` with an import that waits for its mapping, and a change."""
    table = Table.objects.get(pk=own["table_id"])
    job, _ = create_import(NewImport(alice.pk, table, "own.csv"), [b"Subject\nx\n"])
    work()
    return {**own, "ready_id": str(job.pk)}


def _without_periods() -> dict[str, str]:
    """What is stored, but for periods of budgets: a refused request may begin one, with nothing in
    it."""
    return {**stored_rows(), "chat.BudgetPeriod": ""}


def test_an_id_in_a_body_tells_nothing_and_does_nothing(
    alice: User, own_references: Known, theirs: Known, client_of: ClientOf
) -> None:
    client = client_of(alice)
    theirs["change_id"] = Change.objects.filter(table=theirs["table_id"]).latest("pk").pk
    missing = absent(theirs)
    before = _without_periods()
    calls, unknown = (_references(own_references, known) for known in (theirs, missing))
    differing, costs = {}, _Costs(client)
    for name, call in calls.items():
        answers = costs.compare(name, call, unknown[name])
        found, none = (seen(answer, theirs, missing) for answer in answers)
        if found != none or found[0] not in (400, 404, 409, 422):
            differing[name] = (found, none)
    assert differing == {}
    assert costs.differing == {}
    assert costs.counted > 50
    assert _without_periods() == before


class _Any(dict[str, Any]):
    """Has every key."""

    def __missing__(self, key: str) -> str:
        return key


def test_every_field_that_names_something_is_listed() -> None:
    listed = {name.rpartition(".")[2] for name in _references(_Any(), _Any())} | _NOT_OWNED
    named = {
        name
        for operation in operations().values()
        for content in operation.get("requestBody", {}).get("content", {}).values()
        for name in _properties(content["schema"], set())
        if _NAMING.fullmatch(name)
    }
    assert named - listed == set()


def _properties(schema: Any, found: set[str]) -> Iterator[str]:
    """The names of all properties of a schema, at any depth."""
    if (reference := schema.get("$ref")) is not None:
        if reference not in found:
            found.add(reference)
            yield from _properties(schemas()[reference.rpartition("/")[2]], found)
        return
    for part in ("anyOf", "allOf", "oneOf"):
        for option in schema.get(part, ()):
            yield from _properties(option, found)
    for name, value in schema.get("properties", {}).items():
        yield name
        yield from _properties(value, found)
    if "items" in schema:
        yield from _properties(schema["items"], found)
