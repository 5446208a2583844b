"""An import and an export through the front door: web and worker stay as large as they were."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.e2e.conftest import Keys
from tests.stack import Stack
from tests.waiting import wait_until

ROWS = 4_000


@pytest.fixture
def client(stack: Stack, keys: Keys) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {keys.alice}"}
    with httpx.Client(base_url=stack.base_url, headers=headers, timeout=30) as client:
        yield client


def reached(client: httpx.Client, path: str, *states: str) -> dict[str, Any]:
    def ask() -> dict[str, Any] | None:
        found: dict[str, Any] = client.get(path).json()
        return found if found["state"] in states else None

    found = wait_until(ask, f"{states}", 60)
    assert found is not None
    return found


def there_and_back(client: httpx.Client, rows: int) -> None:
    """A file of that many rows of 8 KB becomes a table, which becomes the same file again."""
    lines = [f'k-{n},{n}.5,"名称 {n} {"x" * 8_000}"' for n in range(rows)]
    content = "号码,Value,Text\n" + "".join(f"{line}\n" for line in lines)
    answer = client.post(
        "/api/tables/imports",
        params={"file_name": "rows.csv"},
        content=content.encode("gb18030"),
        headers={"Content-Type": "text/csv"},
    )
    assert answer.status_code == 201, answer.text
    path = f"/api/tables/imports/{answer.json()['id']}"
    job = reached(client, path, "ready", "failed")
    assert (job["state"], job["total"]) == ("ready", rows)
    assert job["dialect"]["encoding"] == "gb18030"
    started = client.post(f"{path}:start", json={})
    assert started.status_code == 200, started.text
    job = reached(client, path, "done", "failed")
    assert (job["state"], job["created_rows"], job["bad_rows"]) == ("done", rows, 0)
    asked = client.post(f"/api/tables/{job['table']}/exports", json={"format": "csv"})
    path = f"/api/tables/exports/{asked.json()['id']}"
    assert reached(client, path, "done", "failed")["done"] == rows
    header, *exported = client.get(f"{path}/file").text.splitlines()
    assert header == "号码,Value,Text"
    assert [line.replace('"', "") for line in exported] == [line.replace('"', "") for line in lines]
    assert client.delete(f"/api/tables/{job['table']}").status_code == 204


def test_a_large_file_becomes_a_table_and_a_file_again(stack: Stack, client: httpx.Client) -> None:
    # What a process loads with its first import is no growth.
    there_and_back(client, 10)
    names = ("web-0", "web-1", "worker-0")
    before = stack.memory(*names)
    there_and_back(client, ROWS)
    grown = stack.growth(before, *names)
    assert max(grown.values()) < 60 * 2**20, grown
