"""No operation of the API does, or tells, anything about tables of others."""

from __future__ import annotations

import re
from typing import Any

import pytest

from accounts.models import User
from tests.chat.tables.ai.conftest import AiGrid, Json
from tests.chat.tables.transfers import Imports
from tests.conftest import ClientOf

pytestmark = pytest.mark.django_db(transaction=True)

_PARAMETER = re.compile(r"{(\w+)}")


@pytest.fixture
def theirs(grid: AiGrid) -> Json:
    """One of everything that belongs to a table of Alice's, by the names of parameters."""
    [row] = grid.create({"Text": "x"})
    summary = grid.add_ai("Summary")
    table = f"/{grid.id}"
    path = f"/ai-fields/{summary['id']}"
    compared = {"a": {}, "b": {}, "rows": 1}
    return {
        "table_id": grid.id,
        "row_id": row,
        "field_id": grid.fields["Text"]["id"],
        "ai_field_id": summary["id"],
        "run_id": grid.api("post", f"{path}/runs", {}, status=201)["id"],
        "comparison_id": grid.api("post", f"{path}/comparisons", compared, status=201)["id"],
        "view_id": grid.api(
            "post", f"{table}/views", {"name": "All", "is_shared": True}, status=201
        )["id"],
        "snapshot_id": grid.api("post", f"{table}:open", {})["id"],
        "export_id": grid.api("post", f"{table}/exports", {"format": "csv"}, status=202)["id"],
        "import_id": Imports(grid.client).upload("Text\ny\n", table=grid)["id"],
    }


def _operations(document: Json) -> list[tuple[str, str, Json]]:
    """Method, path and operation of all that names an object of a table."""
    return [
        (method, path, operation)
        for path, operations in document["paths"].items()
        if path.startswith("/api/tables") and _PARAMETER.search(path)
        for method, operation in operations.items()
        if method in ("get", "post", "put", "patch", "delete")
    ]


def _called(client: Any, method: str, path: str, operation: Json) -> Any:
    """The answer to a call with what the document gives as an example."""
    query = {
        parameter["name"]: "rows.csv"
        for parameter in operation.get("parameters", ())
        if parameter.get("in") == "query" and parameter.get("required")
    }
    bodies = operation.get("requestBody", {}).get("content", {})
    if "application/json" in bodies:
        example = bodies["application/json"]["example"]
        return getattr(client, method)(path, example, "application/json", query_params=query)
    kind = "application/octet-stream"
    return client.generic(method.upper(), path, b"x", kind, query_params=query)


def _shown(grid: AiGrid, theirs: Json) -> list[Any]:
    paths = [
        *("", "/rows", "/views", "/ai-fields", "/runs", "/exports", "/imports", "/changes"),
        "/shares",
    ]
    others = [f"/comparisons/{theirs['comparison_id']}", f"/snapshots/{theirs['snapshot_id']}/rows"]
    return [grid.api("get", path) for path in [*(f"/{grid.id}{path}" for path in paths), *others]]


def test_objects_of_others_are_not_there(
    grid: AiGrid, theirs: Json, bob: User, client_of: ClientOf
) -> None:
    client = client_of(bob)
    operations = _operations(client.get("/api/openapi.json").json())
    before = _shown(grid, theirs)
    assert len(operations) > 60
    answers = {}
    for method, template, operation in operations:
        path = _PARAMETER.sub(lambda found: str(theirs[found[1]]), template)
        answers[f"{method} {template}"] = _called(client, method, path, operation).status_code
    assert {call: status for call, status in answers.items() if status != 404} == {}
    assert _shown(grid, theirs) == before


def test_a_snapshot_is_for_who_opened_it(
    grid: AiGrid, theirs: Json, bob: User, client_of: ClientOf
) -> None:
    """Which rows it has may tell of what only that one may read."""
    shares = [{"user": "bob", "access": ["edit", "run"]}]
    grid.api("put", f"/{grid.id}/shares", {"shares": shares})
    bobs = AiGrid(client_of(bob), grid.id, grid.fields)
    for part in ("rows", "changes"):
        path = f"/snapshots/{theirs['snapshot_id']}/{part}"
        grid.api("get", path)
        assert bobs.api("get", path, status=404)["code"] == "snapshot_gone"


def test_a_reader_reveals_no_blind_comparison(grid: AiGrid, bob: User, client_of: ClientOf) -> None:
    grid.create({"Text": "x"})
    summary = grid.add_ai("Summary")
    body = {"a": {}, "b": {}, "rows": 1, "blind": True}
    made = grid.api("post", f"/ai-fields/{summary['id']}/comparisons", body, status=201)
    path = f"/comparisons/{made['id']}"
    grid.api("put", f"/{grid.id}/shares", {"shares": [{"user": "bob", "access": ["read"]}]})
    bobs = AiGrid(client_of(bob), grid.id, grid.fields)
    bobs.api("post", f"{path}:reveal", {}, status=403)
    assert bobs.api("get", path)["is_blind"]
    grid.api("put", f"/{grid.id}/shares", {"shares": [{"user": "bob", "access": ["review"]}]})
    assert not bobs.api("post", f"{path}:reveal", {})["is_blind"]
