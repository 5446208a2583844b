"""Renews a lease while one long statement or another process works."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread

from django.db import DatabaseError, connections

from chat.runs.announcing import publish
from chat.tables.transfers.leases import SECONDS, Lease, LeaseLostError


class LeaseRenewal:
    """Renews a lease, on a thread and a connection of its own."""

    def __init__(self, lease: Lease) -> None:
        self._lease = lease
        self._done = 0
        self._is_lost = False
        self._end = Event()

    def check(self, done: int) -> None:
        """Note how many rows are done. Raises LeaseLostError."""
        self._done = done
        if self._is_lost:
            raise LeaseLostError

    def run(self) -> None:
        try:
            while not self._end.wait(SECONDS / 5):
                self._renew()
        finally:
            connections.close_all()

    def _renew(self) -> None:
        try:
            self._lease.renew(self._done)
            publish([self._lease.transfer_id])
        except LeaseLostError:
            self._is_lost = True
        except DatabaseError:
            # Once more, before the lease has run out.
            pass
        finally:
            connections.close_all()

    def end(self) -> None:
        self._end.set()


@contextmanager
def renewed(lease: Lease) -> Iterator[LeaseRenewal]:
    """Renew the lease for as long as the block takes."""
    renewal = LeaseRenewal(lease)
    thread = Thread(target=renewal.run, name="lease of a transfer", daemon=True)
    thread.start()
    try:
        yield renewal
    finally:
        renewal.end()
        thread.join()
