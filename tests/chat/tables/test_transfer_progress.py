"""The progress of imports and exports over the socket."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from accounts.models import APIKey, User
from aily.database.threads import in_database
from aily.routing import routes as application
from chat.tables.transfers import progress
from tests.chat.conftest import loop_services as loop_services
from tests.chat.tables.conftest import Grids
from tests.chat.tables.transfers import Imports, work
from tests.communicators import WebsocketCommunicator
from tests.conftest import ClientOf


@asynccontextmanager
async def connected(user: User) -> AsyncIterator[Any]:
    _, secret = await in_database(APIKey.create, user, "test")
    headers = [(b"authorization", f"Bearer {secret}".encode())]
    socket = WebsocketCommunicator(application, "/ws/llmchat/", headers)
    assert (await socket.connect())[0]
    assert (await socket.receive_json_from())["type"] == "hello"
    yield socket
    await socket.disconnect()


async def test_an_import_is_followed_to_its_end(
    alice: User, bob: User, client_of: ClientOf, loop_services: None
) -> None:
    imports = await in_database(lambda: Imports(client_of(alice)))
    job = await in_database(imports.inspected, "Name\nx\ny\n")
    frame = {"type": "import.subscribe", "ref": "1", "import_id": job["id"]}
    async with connected(bob) as others:
        await others.send_json_to(frame)
        refused = await others.receive_json_from()
        assert (refused["type"], refused["error"]["code"]) == ("error", "not_found")
    async with connected(alice) as socket:
        await socket.send_json_to(frame)
        first = await socket.receive_json_from()
        assert (first["type"], first["state"], first["total"]) == ("import.progress", "ready", 2)
        await in_database(imports.run, job)
        while (last := await socket.receive_json_from())["state"] != "done":
            assert last["type"] == "import.progress"
        assert (last["created_rows"], last["done"]) == (2, 2)
        assert last["table"] is not None


async def test_an_export_is_followed_until_its_file_is_there(
    alice: User,
    bob: User,
    client_of: ClientOf,
    loop_services: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(progress, "MAX_SECONDS", 60)
    client = await in_database(client_of, alice)
    grid = await in_database(lambda: Grids(client).make(Name="text"))
    await in_database(grid.create, {"Name": "x"}, {"Name": "y"})
    answer = await in_database(grid.send, "post", "/exports", {"format": "csv"})
    job = answer.json()
    frame = {"type": "export.subscribe", "ref": "1", "export_id": job["id"]}
    async with connected(bob) as others:
        await others.send_json_to(frame)
        refused = await others.receive_json_from()
        assert (refused["type"], refused["error"]["code"]) == ("error", "not_found")
    async with connected(alice) as socket:
        await socket.send_json_to(frame)
        first = await socket.receive_json_from()
        assert (first["type"], first["state"]) == ("export.progress", "running")
        await in_database(work)
        # Noticed at once, not when the row is looked at by itself.
        last = await socket.receive_json_from()
        assert (last["state"], last["done"], last["total"]) == ("done", 2, 2)
        assert last["table"] == grid.id
