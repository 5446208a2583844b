"""Files in the database, a piece at a time."""

from __future__ import annotations

import tracemalloc

from accounts.models import User
from chat.models.files import PIECE_BYTES, UNFINISHED, StoredFile, append_pieces


def test_of_a_file_of_many_pieces_few_are_in_memory(alice: User) -> None:
    """Not those either that were stored by the last statements of the connection."""
    first, large = (
        StoredFile.objects.create(owner=alice, name=name, purpose=UNFINISHED) for name in "ab"
    )
    append_pieces(first.pk, [b"what is loaded once"])
    tracemalloc.start()
    append_pieces(large.pk, (bytes([number]) * PIECE_BYTES for number in range(16)))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10 * PIECE_BYTES
    assert large.pieces.count() == 16
