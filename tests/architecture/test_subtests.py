"""Cases that share a test: each is judged, whatever becomes of the others."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.subtests import subtested

CASES = [(1, "a"), (2, "b"), (3, "c")]


class Recorder:
    """Stands for pytest's `subtests`: a failed one does not end its test."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.failed: list[str] = []

    @contextmanager
    def test(self, label: str) -> Iterator[None]:
        self.begun.append(label)
        try:
            yield
        except AssertionError:
            self.failed.append(label)


@subtested(("number", "word"), CASES)
def judged(number: int, word: str, wrong: int) -> None:
    assert number != wrong


@subtested("number", [1, 2])
async def judged_on_a_loop(number: int, wrong: int) -> None:
    await asyncio.sleep(0)
    assert number != wrong


def test_a_case_that_fails_is_named_and_the_others_are_judged() -> None:
    run: Any = judged
    recorder = Recorder()
    run(subtests=recorder, wrong=2)
    assert recorder.begun == ["number=1, word='a'", "number=2, word='b'", "number=3, word='c'"]
    assert recorder.failed == ["number=2, word='b'"]


async def test_so_it_is_on_an_event_loop() -> None:
    run: Any = judged_on_a_loop
    recorder = Recorder()
    await run(subtests=recorder, wrong=1)
    assert (len(recorder.begun), recorder.failed) == (2, ["number=1"])


def test_fixtures_are_what_is_no_part_of_a_case() -> None:
    assert list(inspect.signature(judged).parameters) == ["wrong", "subtests"]
