"""A download ends when the key that it was begun with is revoked, also for one who reads slowly."""

from __future__ import annotations

import asyncio
import os
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from accounts.models import APIKey, User
from aily.database.threads import in_database
from aily.web.access_revocation import Access, open_sockets
from chat.models import Run, RunRow, StoredFile
from chat.models.files import PIECE_BYTES, append_pieces
from chat.tables.models import Export, Import, Table
from chat.tables.sharing import Share, set_shares
from chat.tables.tables import create_table
from tests.chat.conftest import loop_services as loop_services
from tests.chat.openai.conftest import server as server
from tests.conftest import ClientOf

#: More than the buffers of a connection hold.
PIECES = 24
SECONDS = 30.0


def _file(owner: User, purpose: str) -> StoredFile:
    file = StoredFile.objects.create(
        owner=owner, name="x", purpose=purpose, bytes=PIECES * PIECE_BYTES
    )
    append_pieces(file.pk, (os.urandom(PIECE_BYTES) for _ in range(PIECES)))
    return file


def of_v1(owner: User) -> str:
    return f"/v1/files/file-{_file(owner, 'user_data').pk.hex}/content"


def of_export(owner: User) -> str:
    own: dict[str, Any] = {"owner": owner, "table": create_table(owner, "x", []), "format": "csv"}
    job = Export.objects.create(**own, file=_file(owner, "table_export"), state="done")
    return f"/api/tables/exports/{job.pk}/file"


def of_report(owner: User) -> str:
    own: dict[str, Any] = {"owner": owner, "table": create_table(owner, "x", []), "format": "csv"}
    job = Import.objects.create(**own, report_file=_file(owner, "import_report"), state="done")
    return f"/api/tables/imports/{job.pk}/report.csv"


def of_results(owner: User) -> str:
    run = Run.objects.create(owner=owner, kind="run", name="x", source={}, state="done")
    payload = {"text": "x" * PIECE_BYTES}
    for number in range(1, PIECES + 1):
        RunRow.objects.create(
            run=run, number=number, line=1, payload=payload, payload_bytes=PIECE_BYTES,
            state="failed", error={"code": "internal"},
        )  # fmt: skip
    return f"/api/llmchat/runs/{run.pk}/results"


async def _revoke(key: APIKey) -> None:
    """Revoke the key. Returns once this process has heard of it."""
    heard = asyncio.Event()

    async def close(code: int) -> None:
        heard.set()

    async def check() -> float:
        return 3600.0

    access = Access(key.owner_id, key.pk)
    async with open_sockets().registered(access, close, check, 3600.0):
        await in_database(APIKey.objects.filter(pk=key.pk).revoke)
        await heard.wait()


@pytest.mark.parametrize("make", [of_v1, of_export, of_report, of_results])
async def test_a_download_ends_with_its_access(server: str, alice: User, make: Any) -> None:
    path = await in_database(make, alice)
    key, secret = await in_database(APIKey.create, alice, "test")
    address = urlsplit(server)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    head = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {secret}\r\n\r\n"
    writer.write(head.encode())
    async with asyncio.timeout(SECONDS):
        assert b" 200 " in await reader.readline()
        await _revoke(key)
        assert await _rest(reader) < PIECES * PIECE_BYTES
    writer.close()
    # What is begun with another key is whole.
    _, secret = await in_database(APIKey.create, alice, "other")
    assert await _whole(server, path, secret) >= PIECES * PIECE_BYTES


async def _rest(reader: asyncio.StreamReader) -> int:
    """Bytes until the connection is cut."""
    size = 0
    try:
        while piece := await reader.read(65_536):
            size += len(piece)
    except ConnectionResetError:
        pass
    return size


async def _whole(server: str, path: str, secret: str) -> int:
    headers = {"Authorization": f"Bearer {secret}"}
    address = server.removesuffix("/v1") + path
    async with (
        httpx.AsyncClient(headers=headers, timeout=SECONDS) as client,
        client.stream("GET", address) as answer,
    ):
        return sum([len(piece) async for piece in answer.aiter_raw()])


def test_an_export_is_read_by_those_who_may_read_its_table(
    alice: User, bob: User, client_of: ClientOf
) -> None:
    path = of_export(bob)
    job = Export.objects.get()
    Table.objects.update(owner=alice)
    set_shares(job.table, [Share(["read"], user="bob")])
    client = client_of(bob)
    assert client.get(path).status_code == 200
    set_shares(job.table, [])
    answer = client.get(path)
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
