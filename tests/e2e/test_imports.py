"""Imports and exports through the front door: web and worker stay as large as they were."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import psutil
import pytest

from tests.e2e.conftest import Keys
from tests.stack import Stack
from tests.waiting import wait_until

ROWS = 4_000
PROCESSES = ("web-0", "web-1", "worker-0")
#: Of each of them, at any moment.
MAX_GROWTH = 60 * 2**20

LARGE_ROWS = 100_000
_TEXT = ("Some text, in quotes; " * 4).strip()
_LARGE_HEADER = "id,name,city,price,amount,day,at,ok,url,mail,a,b,c,d,e,f,g,h,i,j\n"


@pytest.fixture
def client(stack: Stack, keys: Keys) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {keys.alice}"}
    with httpx.Client(base_url=stack.base_url, headers=headers, timeout=30) as client:
        yield client


def reached(client: httpx.Client, path: str, *states: str, seconds: float = 60) -> dict[str, Any]:
    def ask() -> dict[str, Any] | None:
        found: dict[str, Any] = client.get(path).json()
        return found if found["state"] in states else None

    found = wait_until(ask, f"{states}", seconds)
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


@pytest.mark.slow
def test_a_large_file_becomes_a_table_and_a_file_again(stack: Stack, client: httpx.Client) -> None:
    # What a process loads with its first import is no growth.
    there_and_back(client, 10)
    with peak_growth(stack) as grown:
        there_and_back(client, ROWS)
    assert max(grown.values()) < MAX_GROWTH, grown


@contextmanager
def peak_growth(stack: Stack) -> Iterator[dict[str, int]]:
    """By what each process has grown at the most."""
    before = stack.memory(*PROCESSES)
    processes = {name: psutil.Process(int(name.split()[1])) for name in before}
    grown: dict[str, int] = {}
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.1):
            for name, process in processes.items():
                size = process.memory_info().rss - before[name]
                grown[name] = max(grown.get(name, 0), size)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield grown
    finally:
        ended.set()
        thread.join()


# --- As large as a file may be ------------------------------------------------------------------
def large_file() -> Iterator[bytes]:
    """100 MB of CSV: 100,000 rows of 20 columns."""
    tail = ",".join([f'"{_TEXT}"'] * 10)
    yield _LARGE_HEADER.encode()
    for number in range(LARGE_ROWS):
        yield (
            f"{number},Customer {number},北京市,{number}.25,{number % 1000},"
            f"2026-01-{number % 28 + 1:02},2026-01-31T12:00:{number % 60:02}Z,"
            f"{'true' if number % 2 else 'false'},https://example.com/{number},"
            f"user{number}@example.com,{tail}\n"
        ).encode()


def exported(client: httpx.Client, table: int, form: str) -> int:
    """Export the table, and read the file. Returns its size."""
    asked = client.post(f"/api/tables/{table}/exports", json={"format": form})
    path = f"/api/tables/exports/{asked.json()['id']}"
    job = reached(client, path, "done", "failed", seconds=120)
    assert (job["state"], job["done"]) == ("done", LARGE_ROWS)
    with client.stream("GET", f"{path}/file") as answer:
        return sum(map(len, answer.iter_bytes()))


@pytest.mark.slow
def test_files_as_large_as_may_be_come_and_go_in_flat_memory(
    stack: Stack, client: httpx.Client
) -> None:
    there_and_back(client, 10)
    size = sum(map(len, large_file()))
    assert 95_000_000 < size < 104_857_600
    with peak_growth(stack) as grown:
        headers = {"Content-Type": "text/csv", "Content-Length": str(size)}
        answer = client.post(
            "/api/tables/imports",
            params={"file_name": "rows.csv"},
            content=large_file(),
            headers=headers,
        )
        path = f"/api/tables/imports/{answer.json()['id']}"
        began = time.monotonic()
        job = reached(client, path, "ready", "failed")
        inspected = time.monotonic() - began
        assert (job["state"], job["total"]) == ("ready", LARGE_ROWS)
        began = time.monotonic()
        client.post(f"{path}:start", json={})
        job = reached(client, path, "done", "failed")
        imported = time.monotonic() - began
        assert (job["state"], job["created_rows"]) == ("done", LARGE_ROWS)
        for form in ("csv", "jsonl", "xlsx"):
            assert exported(client, job["table"], form) > 1_000_000
    # Promised in 30 s, with a preview in 2, on a machine that does nothing else.
    assert inspected + imported < 60, (inspected, imported)
    assert max(grown.values()) < MAX_GROWTH, grown
