"""Imports and exports of one user over REST; the worker's part is done when a test says so."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from typing import Any

from asgiref.sync import async_to_sync
from django.test import AsyncClient, Client

from chat.tables.transfers.working import work_on_next
from tests.chat.tables.conftest import Grid

Json = dict[str, Any]


def work(steps_left: int = 20) -> None:
    """Take steps until no transfer waits."""
    while work_on_next():
        steps_left -= 1
        assert steps_left, "a step is taken again and again"


class Imports:
    """`client` is the user's. Answers of the wrong status fail the test."""

    def __init__(self, client: Client) -> None:
        self.client = client

    def upload(
        self,
        content: bytes | str,
        file_name: str = "rows.csv",
        table: Grid | None = None,
        *,
        status: int = 201,
        key: str | None = None,
        **query: str,
    ) -> Json:
        path = f"/api/tables/{table.id}/imports" if table else "/api/tables/imports"
        body = content.encode() if isinstance(content, str) else content
        answer = self.client.generic(
            "POST",
            path,
            body,
            content_type="application/octet-stream",
            headers={"Idempotency-Key": key} if key else {},
            query_params={"file_name": file_name, **query},
        )
        return self._json(answer, status)

    def inspected(
        self, content: bytes | str, file_name: str = "rows.csv", table: Grid | None = None
    ) -> Json:
        job = self.upload(content, file_name, table)
        work()
        return self.get(job)

    def get(self, job: Json, status: int = 200) -> Json:
        return self._json(self.client.get(f"/api/tables/imports/{job['id']}"), status)

    def patch(self, job: Json, status: int = 200, **changes: Any) -> Json:
        path = f"/api/tables/imports/{job['id']}"
        body = json.dumps(changes)
        found = self._json(self.client.patch(path, body, content_type="application/json"), status)
        if status == 200:
            work()
            return self.get(job)
        return found

    def act(self, job: Json, action: str, status: int = 200) -> Json:
        path = f"/api/tables/imports/{job['id']}:{action}"
        return self._json(self.client.post(path, "{}", content_type="application/json"), status)

    def run(self, job: Json) -> Json:
        """Start it, and have it done."""
        self.act(job, "start")
        work()
        return self.get(job)

    def report(self, job: Json, language: str = "") -> list[list[str]]:
        path = f"/api/tables/imports/{job['id']}/report.csv"
        headers = {"Accept-Language": language} if language else {}
        text = fetch(self.client, path, headers=headers).decode("utf-8-sig")
        return list(csv.reader(io.StringIO(text)))

    def _json(self, answer: Any, status: int) -> Json:
        assert answer.status_code == status, answer.content
        found: Json = answer.json()
        return found


def fetch(
    client: Client, path: str, status: int = 200, headers: Mapping[str, str] | None = None
) -> bytes:
    """A streamed answer."""

    async def read() -> bytes:
        sent = {"Authorization": client.defaults["HTTP_AUTHORIZATION"], **(headers or {})}
        answer: Any = await AsyncClient().get(path, headers=sent)
        assert answer.status_code == status, answer.content
        if not answer.streaming:
            return bytes(answer.content)
        return b"".join([piece async for piece in answer])

    return async_to_sync(read)()


def rows_of(client: Client, table_id: int) -> list[Json]:
    """All rows of a table in their order, by the names of its fields."""
    fields = client.get(f"/api/tables/{table_id}").json()["fields"]
    names = {field["key"]: field["name"] for field in fields}
    body = json.dumps({"limit": 500})
    answer = client.post(
        f"/api/tables/{table_id}/rows:query", body, content_type="application/json"
    )
    assert answer.status_code == 200, answer.content
    rows = answer.json()["items"]
    return [{names[key]: value for key, value in row["values"].items()} for row in rows]
