"""The names or numbers of existing rows, so that made-up ones cost no query.

For rows that are few: one cached value has all names of an owner, or of the table. (Ids made by the
thousand carry a tag instead: chat/models/ids.py.)
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from typing import Any, Generic, TypeVar

from django.db import DEFAULT_DB_ALIAS, connection
from django.db.models import Model
from django.db.models.signals import post_delete, post_save

from aily.cache.keys import Keyspace
from aily.cache.values import Cached

N = TypeVar("N", int, str)
#: The owner's id where the names of all rows are in one value.
ALL_OWNERS = 0


class KnownRows(Generic[N]):
    """The names of a model's rows, by owner. One made past Django's signals is not known at once.

    `kind` is the type of the names, `name` their column, `owner` that of the owner's id; without
    one all rows are together.
    """

    def __init__(
        self,
        keyspace: Keyspace[int],
        model: type[Model],
        kind: type[N],
        *,
        name: str,
        owner: str | None = None,
    ) -> None:
        self._model = model
        self._name, self._owner = name, owner
        self._cached: Cached[int, frozenset[N]] = Cached(keyspace, frozenset[kind], self._load)  # type: ignore[valid-type]

    def may_exist(self, name: N, owner_id: int = ALL_OWNERS) -> bool:
        """False: there is no such row. No query when that is cached.

        A copy of this process may lack what another has just made; what Redis has does not.
        """
        if connection.in_atomic_block:
            # It may see rows that no other transaction does, and reads the row itself next.
            return True
        reads = (self._cached.get, self._cached.check)
        return any(name in (read(owner_id) or ()) for read in reads)

    def connect_signals(self) -> None:
        """Have every row that is made, renamed or deleted forget what is cached."""

        def forget(sender: type[Model], instance: Model, **kwargs: object) -> None:
            self._cached.invalidate([getattr(instance, self._owner) if self._owner else ALL_OWNERS])

        for signal in (post_save, post_delete):
            signal.connect(forget, sender=self._model, weak=False)

    def _load(self, owner_ids: Collection[int]) -> Mapping[int, frozenset[N]]:
        # From the primary: a replica may lack what was made a moment ago.
        rows: Any = self._model._default_manager.using(DEFAULT_DB_ALIAS)  # noqa: SLF001 - documented
        if self._owner is None:
            return {ALL_OWNERS: frozenset(rows.values_list(self._name, flat=True))}
        found: defaultdict[int, set[N]] = defaultdict(set)
        wanted = rows.filter(**{f"{self._owner}__in": owner_ids})
        for owner_id, name in wanted.values_list(self._owner, self._name):
            found[owner_id].add(name)
        return {owner_id: frozenset(found[owner_id]) for owner_id in owner_ids}
