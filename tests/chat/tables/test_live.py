"""What sockets are sent of changes of a table: rows by their ids, merged, resumable."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, cast

import pytest
from guardian.shortcuts import assign_perm, remove_perm

from accounts.models import APIKey, User
from aily.database.threads import in_database
from aily.redis.clients import sync_redis
from aily.routing import routes as application
from chat.consumers import subscriptions
from chat.tables import following, keys, live
from chat.tables.changes import Author
from chat.tables.fields import NewField
from chat.tables.models import Table
from chat.tables.rows.batch import Batch, apply_batch
from chat.tables.rows.operations import Create, Update
from chat.tables.tables import create_table, delete_table
from tests.chat.conftest import loop_services as loop_services
from tests.communicators import WebsocketCommunicator

Connect = Callable[[User], Any]


@pytest.fixture
def table(alice: User, transactional_db: None) -> Table:
    return create_table(alice, "Tickets", [NewField("Name", "text")])


@pytest.fixture
async def connect(loop_services: None, transactional_db: None) -> AsyncIterator[Connect]:
    sockets: list[WebsocketCommunicator] = []

    async def open_socket(user: User) -> WebsocketCommunicator:
        _, secret = await in_database(APIKey.create, user, "test")
        headers = [(b"authorization", f"Bearer {secret}".encode())]
        socket = WebsocketCommunicator(application, "/ws/llmchat/", headers)
        assert (await socket.connect())[0]
        assert (await socket.receive_json_from())["type"] == "hello"
        sockets.append(socket)
        return socket

    yield open_socket
    for socket in sockets:
        await socket.disconnect()


async def _subscribe(socket: Any, table: Table, **fields: Any) -> Any:
    await socket.send_json_to({"type": "table.subscribe", "table": table.pk, **fields})
    frame = await socket.receive_json_from()
    assert frame["type"] == "table.subscribed", frame
    return frame


async def _write(table: Table, *operations: Any) -> Any:
    author = Author(table.owner_id)
    return await in_database(apply_batch, table, author, Batch(list(operations)))


async def _create(table: Table, count: int = 1) -> list[int]:
    result = await _write(table, *(Create({}) for _ in range(count)))
    return [outcome.row_id for outcome in result.outcomes]


async def test_rows_and_fields_of_changes(alice: User, table: Table, connect: Connect) -> None:
    field = await in_database(table.fields.get)
    socket = await connect(alice)
    ref = (await _subscribe(socket, table, ref="r"))["ref"]
    assert ref == "r"
    [row] = await _create(table)
    created = await socket.receive_json_from()
    assert created == {
        "type": "table.changed",
        "table": table.pk,
        "id": f"{created['rev']}-0",
        "rev": created["rev"],
        "rows": [row],
        "fields": [],
    }
    await _write(table, Update(row, {field.key: "x"}))
    changed = await socket.receive_json_from()
    assert (changed["rows"], changed["fields"]) == ([row], [field.key])


async def test_resuming_by_revision_or_id(alice: User, table: Table, connect: Connect) -> None:
    await _create(table)
    socket = await connect(alice)
    rev = (await _subscribe(socket, table))["rev"]
    await socket.send_json_to({"type": "table.unsubscribe", "table": table.pk})
    second, third = await _create(table), await _create(table)
    for after in (rev, str(rev), f"{rev}-0"):
        await _subscribe(socket, table, after=after)
        frame = await socket.receive_json_from()
        assert frame["rows"] == second + third
    await _subscribe(socket, table, after=frame["id"])
    fourth = await _create(table)
    assert (await socket.receive_json_from())["rows"] == fourth


async def test_many_changes_are_few_frames(alice: User, table: Table, connect: Connect) -> None:
    socket = await connect(alice)
    await _subscribe(socket, table)
    began = asyncio.get_running_loop().time()
    made = [row for _ in range(30) for row in await _create(table)]
    rows: list[int] = []
    frames = 0
    while len(rows) < len(made):
        rows += (await socket.receive_json_from())["rows"]
        frames += 1
    assert rows == made
    taken = asyncio.get_running_loop().time() - began
    assert frames <= 3 + taken / following.MIN_SECONDS + 30 * 0.25


async def test_too_much_was_missed(
    alice: User, table: Table, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "MAX_LOGGED_ROWS", 5)
    socket = await connect(alice)
    for _ in range(4):
        await _create(table, 2)
    frame = await _subscribe(socket, table, after=0)
    assert (await socket.receive_json_from()) == {
        "type": "table.reload",
        "table": table.pk,
        "id": f"{frame['rev']}-0",
        "rev": frame["rev"],
        "reason": "fields",
    }
    # What is left in the log is enough for those who have missed less.
    await _subscribe(socket, table, after=frame["rev"] - 1)
    assert len((await socket.receive_json_from())["rows"]) == 2


async def test_a_change_that_nobody_announced(
    alice: User, table: Table, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its writer died after the commit, or Redis was away: readers reload."""
    monkeypatch.setattr(following, "MAX_SECONDS", 0.1)
    monkeypatch.setattr(following, "GAP_SECONDS", 0.1)
    socket = await connect(alice)
    rev = (await _subscribe(socket, table))["rev"]
    await in_database(Table.objects.filter(pk=table.pk).update, rev=rev + 1)
    frame = await socket.receive_json_from()
    assert (frame["type"], frame["rev"]) == ("table.reload", rev + 1)


async def test_announcements_out_of_order(alice: User, table: Table, connect: Connect) -> None:
    """Two writers announce after their commits, the second one first: nothing is lost, also for a
    reader who resumes in between."""
    await _create(table)
    socket = await connect(alice)
    rev = (await _subscribe(socket, table))["rev"]
    await in_database(Table.objects.filter(pk=table.pk).update, rev=rev + 2)
    await in_database(live.changed, table.pk, rev + 2, [22], [])
    frame = await socket.receive_json_from()
    assert frame["rows"] == [22]
    await in_database(live.changed, table.pk, rev + 1, [11], [])
    assert (await socket.receive_json_from())["rows"] == [11]
    await _subscribe(socket, table, after=frame["id"])
    assert (await socket.receive_json_from())["rows"] == [11]


async def test_fields_and_large_changes_are_read_again(
    alice: User, table: Table, connect: Connect
) -> None:
    socket = await connect(alice)
    rev = (await _subscribe(socket, table))["rev"]
    await in_database(Table.objects.filter(pk=table.pk).update, rev=rev + 2)
    await in_database(live.changed, table.pk, rev + 1, [], [])
    assert (await socket.receive_json_from())["reason"] == "fields"
    many = list(range(live.MAX_ROWS_OF_CHANGE + 1))
    await in_database(live.changed, table.pk, rev + 2, many, [])
    frame = await socket.receive_json_from()
    assert (frame["type"], frame["reason"]) == ("table.reload", "rows")


async def test_an_emptied_redis(
    alice: User, table: Table, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "GAP_SECONDS", 0.5)
    await _create(table)
    await in_database(sync_redis().delete, keys.changes_log(table.pk))
    socket = await connect(alice)
    await _subscribe(socket, table, after=0)
    assert (await socket.receive_json_from())["type"] == "table.reload"
    made = await _create(table)
    assert (await socket.receive_json_from())["rows"] == made


async def test_who_may_follow(
    alice: User, bob: User, table: Table, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    socket = await connect(bob)
    for number in (table.pk, 10**12):
        await socket.send_json_to({"type": "table.subscribe", "table": number, "ref": "r"})
        refused = await socket.receive_json_from()
        assert (refused["type"], refused["ref"]) == ("error", "r")
        assert refused["error"]["code"] == "not_found"

    await in_database(assign_perm, "tables.view_table", bob, table)
    await _subscribe(socket, table, ref="r")
    assert (await _create(table)) == (await socket.receive_json_from())["rows"]
    await in_database(remove_perm, "tables.view_table", bob, table)
    await _create(table)
    ended = await socket.receive_json_from()
    assert (ended["type"], ended["ref"], ended["error"]["code"]) == ("error", "r", "not_found")
    await _create(table)
    assert await socket.receive_nothing(0.4)


async def test_how_many_one_socket_follows(
    alice: User, table: Table, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscriptions, "MAX_OTHERS_FOLLOWED", 1)
    other = await in_database(create_table, alice, "Other", [])
    socket = await connect(alice)
    for _ in range(2):
        await _subscribe(socket, table)
    await socket.send_json_to({"type": "table.subscribe", "table": other.pk, "ref": "r"})
    refused = await socket.receive_json_from()
    assert (refused["ref"], refused["error"]["code"]) == ("r", "limit_reached")
    await socket.send_json_to({"type": "table.unsubscribe", "table": table.pk})
    await _subscribe(socket, other)


async def test_a_table_that_is_deleted(alice: User, table: Table, connect: Connect) -> None:
    socket = await connect(alice)
    await _subscribe(socket, table, ref="r")
    await in_database(delete_table, table)
    ended = await socket.receive_json_from()
    assert (ended["type"], ended["ref"], ended["error"]["code"]) == ("error", "r", "not_found")


@pytest.mark.parametrize("after", ["x", "-1", -1, "1-2-3", 1.5, "9" * 16])
async def test_places_that_are_none(
    alice: User, table: Table, connect: Connect, after: Any
) -> None:
    socket = await connect(alice)
    frame = {"type": "table.subscribe", "table": table.pk, "after": after}
    await socket.send_json_to(frame)
    answer = await socket.receive_json_from()
    assert answer["error"]["field"].startswith("after")


def test_the_log_is_bounded(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "MAX_LOGGED_ROWS", 100)
    for rev in range(1, 60):
        live.changed(table.pk, rev, list(range(10)), [1])
    log = keys.changes_log(table.pk)
    assert sync_redis().xlen(log) == 11
    assert 0 < cast("int", sync_redis().ttl(log)) <= live.LOG_SECONDS
