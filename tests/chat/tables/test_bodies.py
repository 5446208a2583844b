"""Commands whose bodies have nothing but defaults take none."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from tests.chat.tables.conftest import Grids
from tests.chat.tables.transfers import Imports, work

pytestmark = pytest.mark.django_db


def test_commands_need_no_body(grids: Grids) -> None:
    grid = grids.make(Name="text")
    grid.create({"Name": "a"})

    def post(path: str) -> Any:
        answer = grid.client.generic("POST", f"/api/tables/{path}")
        assert answer.status_code == 200, answer.content
        return answer.json()

    assert post(f"{grid.id}:open")["count"] == 1
    assert post(f"{grid.id}:undo")["change"]
    assert post(f"{grid.id}:open")["count"] == 0
    assert post(f"{grid.id}:redo")["change"]
    imports = Imports(grid.client)
    job = imports.inspected("Name\nb\n", table=grid)
    post(f"imports/{job['id']}:start")
    work()
    assert post(f"imports/{job['id']}:undo")["can_undo"] is False
    assert post(f"{grid.id}:open")["count"] == 1


@pytest.mark.parametrize(
    "path",
    [
        "/api/tables/ai-fields/1:estimate",
        f"/api/tables/runs/{UUID(int=1)}:start",
        f"/api/tables/runs/{UUID(int=1)}:try",
        f"/api/tables/runs/{UUID(int=1)}:revert",
        f"/api/llmchat/runs/{UUID(int=1)}/start",
        f"/api/llmchat/runs/{UUID(int=1)}/try",
    ],
)
def test_commands_without_a_body_are_no_invalid_requests(grids: Grids, path: str) -> None:
    answer = grids.client.generic("POST", path)
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    refused = grids.client.post(path, '{"unknown": 1}', content_type="application/json")
    assert refused.status_code == 422
