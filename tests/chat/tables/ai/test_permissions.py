"""Every operation on tables, and who may carry it out."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest
from django.db import transaction
from django.test import Client

from accounts.models import User
from tests.chat.api.operations import operations
from tests.chat.tables.ai.conftest import AiGrid, Json
from tests.chat.tables.transfers import Imports, work
from tests.conftest import ClientOf

#: What each access contains.
CONTAINS: dict[str, set[str]] = {
    "none": set(),
    "read": {"read"},
    "review": {"read", "review"},
    "run": {"read", "review", "run"},
    "edit": {"read", "review", "edit"},
    "own": {"read", "review", "run", "edit", "own", "maker"},
}
#: What an operation needs. `maker`: only who has made the run, file or snapshot has it.
NEEDS: dict[str, dict[str, Any]] = {
    "anybody": {
        "GET /api/tables": None,
        "POST /api/tables": {"name": "New"},
        "GET /api/tables/imports": None,
        "POST /api/tables/imports": b"A\nx\n",
    },
    "read": {
        "GET /api/tables/{table_id}": None,
        "GET /api/tables/{table_id}/fields": None,
        "GET /api/tables/fields/{field_id}": None,
        "GET /api/tables/{table_id}/rows": None,
        "GET /api/tables/{table_id}/rows/{row_id}": None,
        "POST /api/tables/{table_id}/rows:query": {},
        "POST /api/tables/{table_id}:aggregate": {"groups": []},
        "GET /api/tables/{table_id}/changes": None,
        "GET /api/tables/{table_id}/views": None,
        "POST /api/tables/{table_id}/views": {"name": "Mine"},
        "GET /api/tables/views/{view_id}": None,
        "POST /api/tables/views/{view_id}:open": {},
        "POST /api/tables/{table_id}:open": {},
        "GET /api/tables/{table_id}/ai-fields": None,
        "GET /api/tables/ai-fields/{ai_field_id}": None,
        "GET /api/tables/ai-fields/{ai_field_id}/states": None,
        "GET /api/tables/ai-fields/{ai_field_id}/runs": None,
        "GET /api/tables/ai-fields/{ai_field_id}/comparisons": None,
        "GET /api/tables/comparisons/{comparison_id}": None,
        "GET /api/tables/{table_id}/runs": None,
        "GET /api/tables/runs/{run_id}": None,
        "GET /api/tables/runs/{run_id}/rows": None,
        "GET /api/tables/runs/{run_id}/errors": None,
        "GET /api/tables/cells/{ai_field_id}/{row_id}": None,
        "POST /api/tables/{table_id}/exports": {"format": "csv"},
        "GET /api/tables/{table_id}/exports": None,
        "GET /api/tables/{table_id}/imports": None,
    },
    "review": {
        "PUT /api/tables/cells/{ai_field_id}/{row_id}/review": {"thumb": "up"},
        "POST /api/tables/comparisons/{comparison_id}:reveal": {},
    },
    "run": {
        "POST /api/tables/ai-fields/{ai_field_id}:estimate": {"scope": {}},
        "POST /api/tables/ai-fields/{ai_field_id}/runs": {},
        "POST /api/tables/ai-fields/{ai_field_id}/comparisons": {"a": {}, "b": {}, "rows": 1},
        "POST /api/tables/runs/{run_id}:estimate": {},
        "POST /api/tables/runs/{run_id}:pause": {},
        "POST /api/tables/runs/{run_id}:cancel": {},
        "POST /api/tables/runs/{run_id}:revert": {},
    },
    "edit": {
        "PATCH /api/tables/{table_id}": {"name": "B"},
        "POST /api/tables/{table_id}/fields": {"name": "B", "kind": "text"},
        "PATCH /api/tables/fields/{field_id}": {"name": "B"},
        "DELETE /api/tables/fields/{field_id}": None,
        "POST /api/tables/fields/{field_id}:restore": {},
        "POST /api/tables/{table_id}/rows:batch": {"operations": [{"op": "create", "values": {}}]},
        "POST /api/tables/{table_id}/rows": {"values": {}},
        "PATCH /api/tables/{table_id}/rows/{row_id}": {"values": {}},
        "DELETE /api/tables/{table_id}/rows/{row_id}": None,
        "POST /api/tables/{table_id}/rows:move": {"rows": [0]},
        "POST /api/tables/{table_id}:undo": {},
        "POST /api/tables/{table_id}:redo": {},
        "PATCH /api/tables/views/{view_id}": {"name": "B"},
        "DELETE /api/tables/views/{view_id}": None,
        "POST /api/tables/{table_id}/ai-fields": {"name": "B", "scene": "echo", "mapping": {}},
        "PATCH /api/tables/ai-fields/{ai_field_id}": {"name": "B"},
        "DELETE /api/tables/ai-fields/{ai_field_id}": None,
        "POST /api/tables/ai-fields/{ai_field_id}:restore": {},
        "POST /api/tables/{table_id}/imports": b"A\nx\n",
    },
    "own": {
        "DELETE /api/tables/{table_id}": None,
        "POST /api/tables/{table_id}:restore": {},
        "GET /api/tables/{table_id}/shares": None,
        "PUT /api/tables/{table_id}/shares": {"shares": []},
    },
    "maker": {
        "GET /api/tables/snapshots/{snapshot_id}/rows": None,
        "GET /api/tables/snapshots/{snapshot_id}/changes": None,
        "PATCH /api/tables/runs/{run_id}": {"max_cost": "1"},
        "POST /api/tables/runs/{run_id}:try": {},
        "POST /api/tables/runs/{run_id}:start": {},
        "POST /api/tables/runs/{run_id}:resume": {},
        "POST /api/tables/runs/{run_id}:retry-failed": {},
        "GET /api/tables/imports/{import_id}": None,
        "PATCH /api/tables/imports/{import_id}": {"mode": "append"},
        "DELETE /api/tables/imports/{import_id}": None,
        "GET /api/tables/imports/{import_id}/report.csv": None,
        "POST /api/tables/imports/{import_id}:start": {},
        "POST /api/tables/imports/{import_id}:cancel": {},
        "POST /api/tables/imports/{import_id}:undo": {},
        "GET /api/tables/exports/{export_id}": None,
        "GET /api/tables/exports/{export_id}/file": None,
        "DELETE /api/tables/exports/{export_id}": None,
        "POST /api/tables/exports/{export_id}:cancel": {},
    },
}
#: Allowed, but the import has no report, and nothing that could be taken back.
WITHOUT_SUBJECT = {
    "GET /api/tables/imports/{import_id}/report.csv": 404,
    "POST /api/tables/imports/{import_id}:undo": 400,
}
#: Only the maker finds these at all.
PRIVATE = ("/snapshots/", "/imports/", "/exports/")


def test_each_operation_has_an_access() -> None:
    named = [operation for needs in NEEDS.values() for operation in needs]
    listed = [f"{method} {path}" for method, path in operations() if "/api/tables" in path]
    assert sorted(named) == sorted(listed)


@dataclass
class Call:
    """An operation, with a body that is valid."""

    operation: str
    body: Any
    ids: dict[str, object]

    def send(self, client: Client) -> int:
        """Carry it out, and take back what it has changed."""
        method, path = self.operation.split()
        options: Json = {}
        if isinstance(self.body, bytes):
            options = {"data": self.body, "content_type": "application/octet-stream"}
        elif self.body is not None:
            options = {"data": self._body(), "content_type": "application/json"}
        query = {"file_name": "a.csv"} if isinstance(self.body, bytes) else None
        with transaction.atomic():
            answer = client.generic(method, path.format(**self.ids), query_params=query, **options)
            transaction.set_rollback(True)
        status: int = answer.status_code
        return status

    def _body(self) -> str:
        body = dict(self.body)
        if "rows" in body and self.operation.endswith("rows:move"):
            body |= {"rows": [self.ids["row_id"]], "after": self.ids["other_id"]}
        if "mapping" in body:
            body["mapping"] = {"text": self.ids["key"]}
        return json.dumps(body)


@pytest.fixture
def ids(grid: AiGrid) -> dict[str, object]:
    """Something of each kind, all of it made by the owner."""
    row_id, other_id, _ = grid.create(*({"Text": f"Text {n}"} for n in range(3)))
    ai_field = grid.add_ai("Summary")["id"]
    # An answer, for those who may judge it.
    grid.batch({"op": "update", "id": row_id, "values": {"Summary": "By hand"}})
    view = grid.api("post", f"/{grid.id}/views", {"name": "All", "is_shared": True}, status=201)
    compare: Json = {"a": {}, "b": {}, "rows": 1}
    path = f"/ai-fields/{ai_field}"
    return {
        "table_id": grid.id,
        "field_id": grid.fields["Text"]["id"],
        "key": grid.key("Text"),
        "row_id": row_id,
        "other_id": other_id,
        "view_id": view["id"],
        "snapshot_id": grid.api("post", f"/{grid.id}:open", {})["id"],
        "ai_field_id": ai_field,
        "run_id": grid.api("post", f"{path}/runs", {}, status=201)["id"],
        "comparison_id": grid.api("post", f"{path}/comparisons", compare, status=201)["id"],
        "import_id": Imports(grid.client).inspected("Text\nx\n", table=grid)["id"],
        "export_id": _exported(grid),
    }


def _exported(grid: AiGrid) -> str:
    export: Json = grid.api("post", f"/{grid.id}/exports", {"format": "csv"}, status=202)
    work()
    return str(export["id"])


@pytest.mark.parametrize("access", CONTAINS)
def test_who_may_do_what(
    grid: AiGrid, ids: dict[str, object], bob: User, client_of: ClientOf, access: str
) -> None:
    client = grid.client
    if access != "own":
        client = client_of(bob)
        shares = [{"user": "bob", "access": [access]}] if access != "none" else []
        grid.api("put", f"/{grid.id}/shares", {"shares": shares})
    allowed = CONTAINS[access] | {"anybody"}
    wrong = []
    for need, calls in NEEDS.items():
        for operation, body in calls.items():
            status = Call(operation, body, ids).send(client)
            is_hidden = access == "none" or (
                need == "maker" and any(p in operation for p in PRIVATE)
            )
            refused = {404} if is_hidden else {403}
            done = {WITHOUT_SUBJECT.get(operation, 200), 200, 201, 202, 204, 409}
            right = done if need in allowed else refused
            if status not in right:
                wrong.append(f"{operation}: {status}")
    assert wrong == [], wrong
