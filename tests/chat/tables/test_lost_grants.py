"""What is taken from a user ends what they follow of a table, without any change of the table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import Group, Permission
from guardian.shortcuts import assign_perm

from accounts.models import APIKey, User
from aily.database.threads import in_database
from aily.routing import routes as application
from chat.models import LLMModel, Provider
from chat.runs import progress
from chat.tables import following
from chat.tables.models import Table
from chat.tables.sharing import Share, set_shares
from tests.chat.api.one_of_each import ai_field_and_run, one_of_each
from tests.chat.conftest import loop_services as loop_services
from tests.communicators import WebsocketCommunicator

READ = "tables.view_table"
Act = Callable[[User, Table], object]


def share(bob: User, table: Table) -> None:
    set_shares(table, [Share(["read"], user=bob.username)])


def take_share(bob: User, table: Table) -> None:
    set_shares(table, [])


def _readers() -> Group:
    return Group.objects.get_or_create(name="readers")[0]


def give_role(bob: User, table: Table) -> None:
    assign_perm(READ, _readers(), table)
    bob.groups.add(_readers())


def leave_role(bob: User, table: Table) -> None:
    bob.groups.remove(_readers())


def empty_role(bob: User, table: Table) -> None:
    _readers().user_set.clear()


def take_from_role(bob: User, table: Table) -> None:
    set_shares(table, [])


def delete_role(bob: User, table: Table) -> None:
    _readers().delete()


def _permission() -> Permission:
    return Permission.objects.get(codename="view_table", content_type__app_label="tables")


def make_staff(bob: User, table: Table) -> None:
    bob.user_permissions.add(_permission())
    bob.is_staff = True
    bob.save()


def take_staff_flag(bob: User, table: Table) -> None:
    bob.is_staff = False
    bob.save()


def take_permission(bob: User, table: Table) -> None:
    bob.user_permissions.clear()


#: How Bob comes to read a table of Alice's, and how that is taken from him.
WAYS: dict[str, tuple[Act, Act]] = {
    "share": (share, take_share),
    "role left": (give_role, leave_role),
    "role emptied": (give_role, empty_role),
    "role's grant": (give_role, take_from_role),
    "role deleted": (give_role, delete_role),
    "staff": (make_staff, take_staff_flag),
    "permission": (make_staff, take_permission),
}


@pytest.fixture
def known(alice: User, model: LLMModel, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A table of Alice's with a run, which are looked at only when there is news."""
    for module in (following, progress):
        monkeypatch.setattr(module, "MAX_SECONDS", 3600.0)
    known = one_of_each(alice, Provider.objects.get(), "alices")
    return {**known, **ai_field_and_run(alice, known, is_ready=False)}


async def _connected(user: User) -> WebsocketCommunicator:
    _, secret = await in_database(APIKey.create, user, "test")
    headers = [(b"authorization", f"Bearer {secret}".encode())]
    socket = WebsocketCommunicator(application, "/ws/llmchat/", headers)
    assert (await socket.connect())[0]
    assert (await socket.receive_json_from())["type"] == "hello"
    return socket


@pytest.mark.parametrize("way", WAYS)
async def test_what_is_taken_ends_what_was_followed_by_it(
    bob: User, known: dict[str, Any], loop_services: None, way: str
) -> None:
    give, take = WAYS[way]
    table = await in_database(Table.objects.get, pk=known["table_id"])
    await in_database(give, bob, table)
    socket = await _connected(bob)
    await socket.send_json_to({"type": "table.subscribe", "ref": "t", "table": table.pk})
    assert (await socket.receive_json_from())["type"] == "table.subscribed"
    await socket.send_json_to({"type": "run.subscribe", "ref": "r", "run_id": known["run_id"]})
    assert (await socket.receive_json_from())["type"] == "run.progress"
    await in_database(take, bob, table)
    frames = [await socket.receive_json_from() for _ in range(2)]
    assert {(frame["ref"], frame["error"]["code"]) for frame in frames} == {
        ("t", "not_found"),
        ("r", "not_found"),
    }
    # The socket itself goes on.
    await socket.send_json_to({"type": "ping", "ref": "p"})
    assert (await socket.receive_json_from())["type"] == "pong"
    await socket.disconnect()
