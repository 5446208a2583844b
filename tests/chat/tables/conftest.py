"""Tables over REST: a client of each user, and tables made of a few words."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import pytest
from django.test import Client

from accounts.models import User
from tests.conftest import ClientOf


@dataclass
class Grid:
    """A table of a user, over REST. Fields are called by their names."""

    client: Client
    id: int
    fields: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def path(self) -> str:
        return f"/api/tables/{self.id}"

    def key(self, name: str) -> str:
        key: str = self.fields[name]["key"]
        return key

    def keyed(self, values: dict[str, Any]) -> dict[str, Any]:
        return {self.key(name): value for name, value in values.items()}

    def named(self, values: dict[str, Any]) -> dict[str, Any]:
        names = {given["key"]: name for name, given in self.fields.items()}
        return {names[key]: value for key, value in values.items() if key in names}

    def send(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        call = getattr(self.client, method)
        if body is None:
            return call(f"{self.path}{path}", headers=given)
        return call(
            f"{self.path}{path}", json.dumps(body), content_type="application/json", headers=given
        )

    def batch(self, *operations: dict[str, Any], **options: Any) -> Any:
        """Values of the operations are by the names of fields."""
        keyed = []
        for operation in operations:
            copy = dict(operation)
            for part in ("values", "was"):
                if part in copy:
                    copy[part] = self.keyed(copy[part])
            keyed.append(copy)
        return self.send("post", "/rows:batch", {"operations": keyed, **options})

    def create(self, *rows: dict[str, Any]) -> list[int]:
        answer = self.batch(*({"op": "create", "values": values} for values in rows))
        assert answer.status_code == 200, answer.content
        return [result["id"] for result in answer.json()["results"]]

    def row(self, row_id: int) -> dict[str, Any]:
        """The values of a row by the names of their fields."""
        answer = self.send("get", f"/rows/{row_id}")
        assert answer.status_code == 200, answer.content
        return self.named(answer.json()["values"])

    def add_field(self, name: str, kind: str, **options: Any) -> dict[str, Any]:
        answer = self.send("post", "/fields", {"name": name, "kind": kind, "options": options})
        assert answer.status_code == 201, answer.content
        self.fields[name] = answer.json()
        return self.fields[name]


class Grids:
    """Makes tables of one user."""

    def __init__(self, client: Client) -> None:
        self.client = client

    def make(self, name: str = "Tickets", **kinds: Any) -> Grid:
        """A table with fields by name: a kind, or a kind and its options."""
        given = {
            name: kind if isinstance(kind, tuple) else (kind, {}) for name, kind in kinds.items()
        }
        fields = [
            {"name": label, "kind": kind, "options": options}
            for label, (kind, options) in given.items()
        ]
        body = json.dumps({"name": name, "fields": fields})
        answer = self.client.post("/api/tables", body, content_type="application/json")
        assert answer.status_code == 201, answer.content
        made = answer.json()
        return Grid(self.client, made["id"], {field["name"]: field for field in made["fields"]})


@pytest.fixture
def grids(alice: User, client_of: ClientOf) -> Grids:
    """Alice's tables."""
    return Grids(client_of(alice))


def as_user(grid: Grid, client: Client) -> Grid:
    """The same table for another user."""
    return Grid(client, grid.id, grid.fields)
