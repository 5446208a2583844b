"""What belongs to another user is answered like what is not there, on each route of `/v1`."""

from __future__ import annotations

import re
from typing import Any
from uuid import UUID

import httpx
import pytest
from django.db.backends.utils import CursorWrapper

from accounts.models import APIKey, User
from aily.database.threads import in_database
from chat.models import Batch, Run, StoredFile, StoredResponse
from chat.models.ids import tagged_id
from chat.openai.routes import routes
from tests.chat.api.foreign import ASKED, Call, Known, seen
from tests.chat.api.foreign import theirs as theirs
from tests.chat.api.one_of_each import stored_rows
from tests.chat.openai.conftest import V1


def _of_v1(owner: User, task_id: str) -> Known:
    """A stored response, a file and a batch."""
    StoredResponse.objects.create(
        task_id=task_id,
        request={"store": True},
        input=[],
        has_instructions=False,
        is_background=False,
        is_streamed=False,
    )
    file = StoredFile.objects.create(owner=owner, name="x", purpose="batch", bytes=0)
    run = Run.objects.create(
        owner=owner, kind="batch", name="x", source={}, input_file=file, state="done"
    )
    Batch.objects.create(run=run, endpoint="/v1/responses", input_file_id=file.pk)
    return {
        "response_id": f"resp_{UUID(task_id).hex}",
        "file_id": f"file-{file.pk.hex}",
        "batch_id": f"batch_{run.pk.hex}",
        "item_id": f"msg_{UUID(task_id).hex}_0_0",
        "model": "bobs",
    }


def _absent_in_v1() -> Known:
    prefixes = {"response_id": "resp_", "file_id": "file-", "batch_id": "batch_"}
    ids = {name: f"{prefix}{tagged_id().hex}" for name, prefix in prefixes.items()}
    item_id = ids["response_id"].replace("resp_", "msg_") + "_0_0"
    return {**ids, "item_id": item_id, "model": "bobs-none"}


def _v1_calls(known: Known) -> dict[str, Call]:
    """Each route that names something, and each field of a body that does."""
    calls: dict[str, Call] = {
        f"{method} {route.path}": (method, re.sub(r":\w+}", "}", route.path).format(**known), {})
        for route in routes
        if "{" in route.path
        for method in (route.methods or set()) - {"HEAD"}
    }
    asked = {"model": "deepseek-flash", "input": "x"}
    response, item = known["response_id"], known["item_id"]
    batch = {"endpoint": "/v1/responses", "completion_window": "24h"}
    return {
        **calls,
        "previous_response_id": (
            "POST", "/v1/responses", {**asked, "previous_response_id": response},
        ),
        "item_reference": (
            "POST", "/v1/responses",
            {**asked, "input": [{"type": "item_reference", "id": item}]},
        ),
        "input_tokens": (
            "POST", "/v1/responses/input_tokens", {**asked, "previous_response_id": response},
        ),
        "input_file_id": ("POST", "/v1/batches", {**batch, "input_file_id": known["file_id"]}),
        "model": ("POST", "/v1/responses", {**asked, "model": known["model"]}),
        "model of chat": (
            "POST", "/v1/chat/completions", {**ASKED, "model": known["model"]},
        ),
        "model of embeddings": ("POST", "/v1/embeddings", {**asked, "model": known["model"]}),
    }  # fmt: skip


#: What is cached is read again now and then, so a difference has to show each time.
_TIMES = 3
#: Headers that tell requests apart.
_OF_EACH_REQUEST = ("x-request-id", "openai-processing-ms", "content-length")


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The statements of all threads."""
    made: list[str] = []
    execute = CursorWrapper.execute

    def recording(cursor: CursorWrapper, sql: Any, params: Any = None) -> Any:
        made.append(str(sql))
        return execute(cursor, sql, params)

    monkeypatch.setattr(CursorWrapper, "execute", recording)
    return made


async def test_v1_tells_nothing_of_what_is_anothers(
    alice: User, bob: User, theirs: Known, v1: V1, statements: list[str]
) -> None:
    known = await in_database(_of_v1, bob, theirs["task_id"])
    missing = _absent_in_v1()
    client = v1((await in_database(APIKey.create, alice, "test"))[1])
    before = await in_database(stored_rows)
    differing, costs = {}, {}
    calls, unknown = _v1_calls(known), _v1_calls(missing)
    for name, call in list(calls.items()):
        for _ in range(_TIMES):
            found, found_cost = await _counted(client, call, statements)
            none, none_cost = await _counted(client, unknown[name], statements)
            if found_cost == none_cost:
                break
        else:
            costs[name] = (found_cost, none_cost)
        answers = [seen(answer, known, missing) for answer in (found, none)]
        if answers[0] != answers[1] or found.status_code not in (400, 404):
            differing[name] = answers
        assert _headers(found) == _headers(none)
    assert differing == {}
    assert costs == {}
    assert await in_database(stored_rows) == before


async def _counted(
    client: httpx.AsyncClient, call: Call, statements: list[str]
) -> tuple[httpx.Response, int]:
    """The answer, and how many statements it took."""
    before = len(statements)
    answer = await _ask_v1(client, *call)
    return answer, len(statements) - before


def _headers(answer: httpx.Response) -> dict[str, str]:
    return {name: value for name, value in answer.headers.items() if name not in _OF_EACH_REQUEST}


async def _ask_v1(client: httpx.AsyncClient, method: str, path: str, body: Any) -> httpx.Response:
    options = {"json": body} if method == "POST" else {}
    return await client.request(method, path.removeprefix("/v1"), **options)
