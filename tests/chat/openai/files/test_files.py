"""`/v1/files`: what is sent is stored as it comes, found by its owner alone, and deleted."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

import httpx
import pytest
from django.utils import timezone
from pytest_django import Settings

from accounts.models import APIKey, User
from aily.database.threads import in_database
from chat.models import FilePiece, StoredFile
from chat.openai.files.store import purge_expired
from tests.chat.openai.batches.conftest import line, make, turns_until, upload
from tests.chat.openai.conftest import V1
from tests.clients.openai_schemas import check

pytestmark = pytest.mark.django_db(transaction=True)
MEBIBYTE = 2**20


def form(*parts: tuple[str, bytes], boundary: str = "b") -> dict[str, Any]:
    """A multipart body, as it stands; a part is the rest of its disposition, and its content."""
    body = b"".join(
        b"--%b\r\nContent-Disposition: form-data; %b\r\n\r\n%b\r\n"
        % (boundary.encode(), head.encode(), content)
        for head, content in parts
    )
    headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    return {"content": body + f"--{boundary}--\r\n".encode(), "headers": headers}


PURPOSE = ('name="purpose"', b"batch")
FILE = ('name="file"; filename="a.jsonl"', b"{}")


async def test_a_file_comes_back_as_it_was_sent(alice_v1: httpx.AsyncClient) -> None:
    content = os.urandom(3 * MEBIBYTE + 17)
    file = await upload(alice_v1, content)
    check("OpenAIFile", file)
    assert (file["bytes"], file["filename"], file["purpose"], file["status"]) == (
        len(content),
        "lines.jsonl",
        "batch",
        "processed",
    )
    assert abs(file["expires_at"] - file["created_at"] - 30 * 86_400) <= 1
    assert (await alice_v1.get(f"/files/{file['id']}")).json() == file
    answer = await alice_v1.get(f"/files/{file['id']}/content")
    assert answer.content == content
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-length"] == str(len(content))
    sizes = await in_database(
        lambda: [len(piece.data) for piece in FilePiece.objects.order_by("number")]
    )
    assert sizes == [MEBIBYTE, MEBIBYTE, MEBIBYTE, 17]


async def test_the_file_may_come_before_the_fields(alice_v1: httpx.AsyncClient) -> None:
    expiry = [
        ('name="expires_after[anchor]"', b"created_at"),
        ('name="expires_after[seconds]"', b"3600"),
    ]
    answer = await alice_v1.post("/files", **form(FILE, PURPOSE, *expiry))
    file = answer.json()
    assert answer.status_code == 200
    assert abs(file["expires_at"] - file["created_at"] - 3600) <= 1


@pytest.mark.parametrize(
    ("parts", "param"),
    [
        ([FILE], "purpose"),
        ([PURPOSE], "file"),
        ([PURPOSE, ('name="file"; filename="a"', b"")], "file"),
        ([PURPOSE, ('name="file"', b"no file")], "file"),
        ([('name="purpose"', b"secret"), FILE], "purpose"),
        ([('name="purpose"', b"batch_output"), FILE], "purpose"),
        ([PURPOSE, PURPOSE, FILE], "purpose"),
        ([PURPOSE, FILE, FILE], "file"),
        ([PURPOSE, ('name="other"; filename="a"', b"x")], "other"),
        ([PURPOSE, ('name="note"', b"x" * 70_000), FILE], "note"),
        ([PURPOSE, FILE, ('name="expires_after[seconds]"', b"3600")], "expires_after[anchor]"),
        (
            [
                PURPOSE,
                FILE,
                ('name="expires_after[anchor]"', b"created_at"),
                ('name="expires_after[seconds]"', b"60"),
            ],
            "expires_after[seconds]",
        ),
    ],
)
async def test_a_form_that_is_wrong_stores_nothing(
    alice_v1: httpx.AsyncClient, parts: list[tuple[str, bytes]], param: str
) -> None:
    answer = await alice_v1.post("/files", **form(*parts))
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
    assert await in_database(StoredFile.objects.count) == 0


async def test_a_form_that_ends_in_the_middle_stores_nothing(
    alice_v1: httpx.AsyncClient,
) -> None:
    whole = form(PURPOSE, ('name="file"; filename="a"', b"x" * 2 * MEBIBYTE))
    broken = {**whole, "content": whole["content"][:-10]}
    answer = await alice_v1.post("/files", **broken)
    assert answer.status_code == 400
    nonsense = {**whole, "content": b"--c\r\nnonsense"}
    assert (await alice_v1.post("/files", **nonsense)).status_code == 400
    assert await in_database(StoredFile.objects.count) == 0
    assert await in_database(FilePiece.objects.count) == 0


async def test_a_body_that_is_no_form_is_refused(alice_v1: httpx.AsyncClient) -> None:
    assert (await alice_v1.post("/files", json={})).status_code == 415


async def test_a_file_over_the_limit_is_refused(
    alice_v1: httpx.AsyncClient, settings: Settings
) -> None:
    settings.RUN_MAX_FILE_BYTES = MEBIBYTE
    body = form(PURPOSE, ('name="file"; filename="a"', b"x" * (MEBIBYTE + 1)))
    answer = await alice_v1.post("/files", **body)
    assert answer.status_code == 413
    assert await in_database(StoredFile.objects.count) == 0


async def test_all_files_of_a_user_are_limited(
    alice_v1: httpx.AsyncClient, settings: Settings
) -> None:
    settings.FILES_MAX_BYTES_PER_USER = 100
    file = await upload(alice_v1, "x" * 60)
    answer = await alice_v1.post(
        "/files", **form(PURPOSE, ('name="file"; filename="a"', b"x" * 60))
    )
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "storage_limit_exceeded")
    await alice_v1.delete(f"/files/{file['id']}")
    await upload(alice_v1, "x" * 60)


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ('filename="../../etc/passwd"', "passwd"),
        ('filename="C:\\\\data\\\\a.jsonl"', "a.jsonl"),
        ('filename=""', "file"),
        ('filename="数据.jsonl"', "数据.jsonl"),
        (f'filename="{"a" * 300}"', "a" * 200),
        ("filename*=UTF-8''%E6%95%B0.jsonl", "数.jsonl"),
        ("filename*=UTF-8''..%2F%ff%00", "\ufffd"),
    ],
)
async def test_names_are_those_of_files(alice_v1: httpx.AsyncClient, sent: str, shown: str) -> None:
    body = form(PURPOSE, (f'name="file"; {sent}', b"x"))
    assert (await alice_v1.post("/files", **body)).json()["filename"] == shown


async def test_files_are_listed_a_page_at_a_time(alice_v1: httpx.AsyncClient) -> None:
    made = [(await upload(alice_v1, "x"))["id"] for _ in range(3)]
    other = (await upload(alice_v1, "x", "user_data"))["id"]
    page = (await alice_v1.get("/files")).json()
    assert ([file["id"] for file in page["data"]], page["has_more"]) == (
        [other, *made[::-1]],
        False,
    )
    query: dict[str, Any] = {"purpose": "batch", "limit": 2, "order": "asc"}
    page = (await alice_v1.get("/files", params=query)).json()
    assert ([file["id"] for file in page["data"]], page["has_more"]) == (made[:2], True)
    page = (await alice_v1.get("/files", params={**query, "after": page["last_id"]})).json()
    assert ([file["id"] for file in page["data"]], page["has_more"]) == (made[2:], False)
    query["after"] = page["last_id"]
    page = (await alice_v1.get("/files", params=query)).json()
    check("ListFilesResponse", page)
    assert (page["data"], page["has_more"]) == ([], False)
    for wrong in ({"limit": 10_001}, {"order": "up"}, {"after": "file-1"}):
        answer = await alice_v1.get("/files", params=wrong)
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, next(iter(wrong)))


async def test_files_may_be_deleted_while_they_are_listed(alice_v1: httpx.AsyncClient) -> None:
    made = [(await upload(alice_v1, "x"))["id"] for _ in range(3)]
    query: dict[str, Any] = {"limit": 2, "order": "asc"}
    first = (await alice_v1.get("/files", params=query)).json()
    for file in first["data"]:
        await alice_v1.delete(f"/files/{file['id']}")
    query["after"] = first["last_id"]
    rest = (await alice_v1.get("/files", params=query)).json()
    assert [file["id"] for file in rest["data"]] == made[2:]


@pytest.mark.parametrize(
    ("asked", "start", "stop"),
    [
        ("bytes=0-9", 0, 10),
        (f"bytes={MEBIBYTE - 2}-{MEBIBYTE + 2}", MEBIBYTE - 2, MEBIBYTE + 3),
        (f"bytes={2 * MEBIBYTE}-", 2 * MEBIBYTE, 2 * MEBIBYTE + 17),
        ("bytes=-5", 2 * MEBIBYTE + 12, 2 * MEBIBYTE + 17),
        ("bytes=5-99999999", 5, 2 * MEBIBYTE + 17),
    ],
)
async def test_a_part_of_a_file_can_be_asked_for(
    alice_v1: httpx.AsyncClient, asked: str, start: int, stop: int
) -> None:
    content = os.urandom(2 * MEBIBYTE + 17)
    path = f"/files/{(await upload(alice_v1, content))['id']}/content"
    answer = await alice_v1.get(path, headers={"Range": asked})
    assert answer.status_code == 206
    assert answer.headers["content-range"] == f"bytes {start}-{stop - 1}/{len(content)}"
    assert answer.headers["content-length"] == str(stop - start)
    assert answer.content == content[start:stop]


async def test_parts_that_are_not_there_are_refused_and_others_ignored(
    alice_v1: httpx.AsyncClient,
) -> None:
    path = f"/files/{(await upload(alice_v1, b'0123456789'))['id']}/content"
    for asked in ("bytes=10-", "bytes=99-100", "bytes=-0"):
        answer = await alice_v1.get(path, headers={"Range": asked})
        assert (answer.status_code, answer.headers["content-range"]) == (416, "bytes */10")
        assert answer.json()["error"]["type"] == "invalid_request_error"
    for asked in ("bytes=0-1,3-4", "bytes=5-2", "items=0-1", "bytes=", "bytes=x-y"):
        answer = await alice_v1.get(path, headers={"Range": asked})
        assert (answer.status_code, answer.content) == (200, b"0123456789")
    other = {"Range": "bytes=0-1", "If-Range": '"another"'}
    assert (await alice_v1.get(path, headers=other)).status_code == 200


async def test_files_are_their_owners(alice_v1: httpx.AsyncClient, v1: V1, bob: User) -> None:
    bob_v1 = v1((await in_database(APIKey.create, bob, "test"))[1])
    path = f"/files/{(await upload(alice_v1, 'x'))['id']}"
    for answer in (
        await bob_v1.get(path),
        await bob_v1.get(f"{path}/content"),
        await bob_v1.delete(path),
        await alice_v1.get("/files/file-1"),
        await alice_v1.get(path.replace("file-", "batch_")),
    ):
        assert (answer.status_code, answer.json()["error"]["type"]) == (
            404,
            "invalid_request_error",
        )
    assert (await alice_v1.get(path)).status_code == 200
    assert (await v1(None).get(path)).status_code == 401


async def test_a_deleted_file_is_gone(alice_v1: httpx.AsyncClient) -> None:
    file = await upload(alice_v1, "x")
    answer = await alice_v1.delete(f"/files/{file['id']}")
    assert answer.json() == {"id": file["id"], "object": "file", "deleted": True}
    assert (await alice_v1.get(f"/files/{file['id']}")).status_code == 404
    assert (await alice_v1.delete(f"/files/{file['id']}")).status_code == 404
    assert await in_database(FilePiece.objects.count) == 0


async def test_a_file_is_kept_while_a_batch_reads_it(alice_v1: httpx.AsyncClient) -> None:
    batch = await make(alice_v1, line(1))
    path = f"/files/{batch['input_file_id']}"
    answer = await alice_v1.delete(path)
    assert (answer.status_code, answer.headers["x-should-retry"]) == (409, "false")
    past = timezone.now() - timedelta(seconds=1)
    await in_database(lambda: StoredFile.objects.update(expires_at=past))
    assert await in_database(purge_expired) == 0
    later = timezone.now() + timedelta(days=1)
    await in_database(lambda: StoredFile.objects.update(expires_at=later))
    await turns_until(alice_v1, batch["id"], "in_progress")
    assert (await alice_v1.delete(path)).status_code == 200
    found = (await alice_v1.get(f"/batches/{batch['id']}")).json()
    assert found["input_file_id"] == batch["input_file_id"]
