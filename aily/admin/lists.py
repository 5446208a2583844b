"""Lists of the admin over tables of millions of rows: nothing here counts or reads a whole one."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from django.contrib import admin
from django.contrib.auth import get_user_model
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import HttpRequest

#: Lists end here, and actions take no more: filter or search for what lies beyond.
MAX_ROWS = 10_000
#: How many of the newest rows a filter without an index looks through: about 0.1 s.
LOOKED_THROUGH = 100_000


class CappedPaginator(Paginator):  # type: ignore[type-arg]
    """Counts up to `MAX_ROWS` and no further."""

    @cached_property
    def count(self) -> int:
        rows: Any = self.object_list
        return int(rows.order_by()[:MAX_ROWS].count())


def newest(rows: QuerySet[Any]) -> QuerySet[Any]:
    """Those of `rows` that are among the newest `LOOKED_THROUGH` of their table, by primary key."""
    every = rows.model._base_manager.order_by("-pk").values_list("pk", flat=True)  # noqa: SLF001
    edge = every[LOOKED_THROUGH : LOOKED_THROUGH + 1].first()
    return rows if edge is None else rows.filter(pk__gt=edge)


class LargeTable:
    """Mixed into the admin of a table of millions of rows: its list keeps to its one order, is
    counted no further than `MAX_ROWS`, and is searched as `search` says.

    Where there is a search, `search_fields` names what Django is to show a box for.
    """

    sortable_by: Any = ()
    paginator: Any = CappedPaginator
    show_full_result_count = False

    def search(self, queryset: QuerySet[Any], term: str) -> QuerySet[Any]:
        """Rows of `queryset` that `term`, which is not blank, stands for. By default all."""
        return queryset

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        term = search_term.strip()
        return (self.search(queryset, term) if term else queryset), False


class _AmongNewest:
    """Mixed into a filter of a column that has no index, as one would cost every write."""

    used_parameters: dict[str, Any]
    title: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.title = f"{self.title} (of the newest {LOOKED_THROUGH:,})"

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        found: QuerySet[Any] = super().queryset(request, queryset)  # type: ignore[misc]
        return newest(found) if self.used_parameters else found


class NewestChoices(_AmongNewest, admin.ChoicesFieldListFilter):
    """A column with choices, of the newest rows."""


class NewestBoolean(_AmongNewest, admin.BooleanFieldListFilter):
    """A column of yes and no, of the newest rows."""


class NewestRelated(_AmongNewest, admin.RelatedFieldListFilter):
    """A foreign key, of the newest rows."""


def users_named(beginning: str) -> list[int]:
    """Primary keys of the first users whose names begin so. Asked for first, so that the rows of
    theirs are found by an index."""
    users = get_user_model()._default_manager.filter(username__istartswith=beginning)  # noqa: SLF001
    return list(users.values_list("pk", flat=True)[:100])
