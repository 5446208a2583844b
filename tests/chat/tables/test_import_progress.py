"""The progress of an import over the socket."""

from __future__ import annotations

from typing import Any

from accounts.models import User
from aily.database.threads import in_database
from tests.chat.conftest import loop_services as loop_services
from tests.chat.tables.test_live import connect as connect
from tests.chat.tables.transfers import Imports
from tests.conftest import ClientOf


async def test_an_import_is_followed_to_its_end(
    alice: User, bob: User, client_of: ClientOf, connect: Any
) -> None:
    imports = await in_database(lambda: Imports(client_of(alice)))
    job = await in_database(imports.inspected, "Name\nx\ny\n")
    socket, others = await connect(alice), await connect(bob)
    frame = {"type": "import.subscribe", "ref": "1", "import_id": job["id"]}
    await others.send_json_to(frame)
    refused = await others.receive_json_from(5)
    assert (refused["type"], refused["error"]["code"]) == ("error", "not_found")
    await socket.send_json_to(frame)
    first = await socket.receive_json_from(5)
    assert (first["type"], first["state"], first["total"]) == ("import.progress", "ready", 2)
    await in_database(imports.run, job)
    while (last := await socket.receive_json_from(5))["state"] != "done":
        assert last["type"] == "import.progress"
    assert (last["created_rows"], last["done"]) == (2, 2)
    assert last["table"] is not None
