"""100,000 rows of 20 columns: how long they take, and how much memory."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest

from accounts.models import User
from chat.tables.models import Table
from tests.chat.tables.transfers import Imports, work
from tests.conftest import ClientOf

ROWS = 100_000
HEADER = "id,name,city,note,price,amount,day,at,ok,url,mail,a,b,c,d,e,f,g,h,i\n"


def large_file() -> bytes:
    """57 MB of CSV: texts, numbers, dates, addresses."""
    tail = ",".join(f"some text of column {letter}, quoted".join('""') for letter in "abcdefghi")
    lines = (
        f'{n},Customer {n},北京市,"A note, with a comma {n}",{n}.25,{n % 1000},'
        f"2026-01-{n % 28 + 1:02},"
        f"2026-01-31T12:00:{n % 60:02}Z,{'true' if n % 2 else 'false'},https://example.com/{n},"
        f"user{n}@example.com,{tail}\n"
        for n in range(ROWS)
    )
    return (HEADER + "".join(lines)).encode()


@contextmanager
def peak_memory() -> Iterator[list[int]]:
    """The largest resident memory of this process meanwhile, less that at the beginning."""
    process = psutil.Process(os.getpid())
    begin = process.memory_info().rss
    peak = [0]
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.05):
            peak[0] = max(peak[0], process.memory_info().rss - begin)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield peak
    finally:
        ended.set()
        thread.join()


@pytest.mark.slow
def test_a_hundred_thousand_rows_are_imported_in_flat_memory(
    alice: User, client_of: ClientOf
) -> None:
    imports = Imports(client_of(alice))
    content = large_file()
    job = imports.upload(content, "large.csv")
    size = len(content)
    del content
    with peak_memory() as peak:
        began = time.monotonic()
        work()
        inspected = time.monotonic() - began
        job = imports.get(job)
        assert (job["state"], job["total"]) == ("ready", ROWS)
        began = time.monotonic()
        imports.act(job, "start")
        work()
        imported = time.monotonic() - began
    job = imports.get(job)
    assert (job["state"], job["created_rows"]) == ("done", ROWS)
    assert Table.objects.get(pk=job["table"]).row_count == ROWS
    figures = f"{size / 1e6:.0f} MB: {inspected:.1f} s, {imported:.1f} s, {peak[0] / 1e6:.0f} MB"
    assert inspected < 10, figures
    assert imported < 30, figures
    assert peak[0] < 100_000_000, figures
