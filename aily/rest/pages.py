"""Pages whose rows are large."""

from __future__ import annotations

from typing import Any

from django.db.models import F, Func, IntegerField, QuerySet, TextField
from django.db.models.functions import Cast, Coalesce
from django.http import HttpRequest

from aily.rest.api import Page

#: Of the large columns of one page.
PAGE_BYTES = 2_097_152


class ShortPage(Page):
    """A page that ends early where its rows' large columns have more than PAGE_BYTES.

    It has one row at least; the next page begins after those that it has.
    """

    #: The large columns.
    columns: tuple[str, ...] = ()

    def paginate_queryset(
        self, queryset: QuerySet[Any], pagination: Any, request: HttpRequest, **params: Any
    ) -> dict[str, Any]:
        size: Any = sum(
            Coalesce(
                Func(
                    Cast(F(name), TextField()),
                    function="octet_length",
                    output_field=IntegerField(),
                ),
                0,
            )
            for name in self.columns
        )
        rows = queryset.annotate(bytes=size).values_list("pk", "bytes")
        found: list[Any] = []
        total = 0
        for pk, row_bytes in rows[pagination.offset : pagination.offset + pagination.limit]:
            total += row_bytes
            if found and total > PAGE_BYTES:
                break
            found.append(pk)
        by_id = queryset.in_bulk(found)
        return {"items": [by_id[pk] for pk in found if pk in by_id], "count": queryset.count()}
