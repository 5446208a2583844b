"""Signals: each callback comes once."""

from __future__ import annotations

from aily.concurrency.signals import Signal


def test_callbacks_come_once_and_at_once_if_it_is_set() -> None:
    signal, heard = Signal(), list[str]()
    signal.subscribe(lambda: heard.append("before"))
    signal.set()
    signal.set()
    signal.subscribe(lambda: heard.append("after"))
    assert heard == ["before", "after"]
    assert signal.is_set()


def test_what_unsubscribed_is_not_called() -> None:
    signal, heard = Signal(), list[str]()

    def note() -> None:
        heard.append("heard")

    signal.subscribe(note)
    signal.unsubscribe(note)
    signal.unsubscribe(note)
    signal.set()
    assert heard == []
