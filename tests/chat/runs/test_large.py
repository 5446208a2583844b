"""Files as large as they may be: memory stays that of a chunk. Slow."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator

import pytest

from accounts.models import User
from chat.models import LLMModel, RunRow, Scene
from chat.runs import stepping
from chat.runs.creation import NewRun, create_run
from chat.runs.export import as_jsonl, read_page

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]
ROWS = 50_000
#: Of Python's objects, at any moment.
MAX_BYTES = 50 * 2**20


def _content() -> Iterator[bytes]:
    """50,000 rows of 4 kB: nearly 200 MB."""
    yield b"id,text\n"
    for number in range(ROWS):
        yield b"%d,%s\n" % (number, b"some words " * 360)


def test_memory_is_flat_for_50000_rows(alice: User, model: LLMModel, scene: Scene) -> None:
    tracemalloc.start()
    run, _ = create_run(alice.pk, None, NewRun("rows.csv", "csv", scene="echo"), _content())
    _, stored = tracemalloc.get_traced_memory()
    tracemalloc.reset_peak()
    stepping.step()
    _, validated = tracemalloc.get_traced_memory()
    run.refresh_from_db()
    assert (run.state, run.total, run.invalid) == ("ready", ROWS, 0)
    tracemalloc.reset_peak()
    RunRow.objects.filter(run=run).update(state="failed")
    after = size = 0
    while rows := read_page(run.pk, after, ["failed"]):
        size += len(as_jsonl(rows))
        after = rows[-1].number
    _, exported = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert after == ROWS
    assert size > 190_000_000
    assert max(stored, validated, exported) < MAX_BYTES
