"""Lists: filtered, in a fixed order, a page at a time."""

from __future__ import annotations

from typing import Any, TypedDict, TypeVar

from django.db.models import F, Func, IntegerField, Model, QuerySet, TextField
from django.db.models.functions import Cast, Coalesce
from django.http import HttpRequest
from ninja import Field
from ninja.pagination import LimitOffsetPagination

Rows = TypeVar("Rows", bound=QuerySet[Model])

#: Bytes of the large columns of one page.
PAGE_BYTES = 2_097_152


class PageContent(TypedDict):
    #: Rows, or what an endpoint makes of them.
    items: list[Any]
    count: int


class Page(LimitOffsetPagination):
    """`?limit=&offset=`, answered with `{items, count}`."""

    class Input(LimitOffsetPagination.Input):
        limit: int = Field(20, ge=1, le=100)
        # PostgreSQL reads all rows that it skips.
        offset: int = Field(0, ge=0, le=100_000)

    def paginate_queryset(
        self,
        queryset: QuerySet[Model],
        pagination: LimitOffsetPagination.Input,
        request: HttpRequest,
        **params: object,
    ) -> PageContent:
        """Load the page's rows here, as only the endpoint may read from the replica."""
        page = super().paginate_queryset(queryset, pagination, request, **params)
        return {"items": list(page["items"]), "count": page["count"]}


class ShortPage(Page):
    """A page that ends early if the large columns of its rows have more than PAGE_BYTES.

    It has one row at least; the next page begins after its last row.
    """

    #: The large columns.
    columns: tuple[str, ...] = ()

    def paginate_queryset(
        self,
        queryset: QuerySet[Model],
        pagination: LimitOffsetPagination.Input,
        request: HttpRequest,
        **params: object,
    ) -> PageContent:
        size = sum((_bytes_of(name) for name in self.columns), start=Coalesce(0, 0))
        rows = queryset.annotate(bytes=size).values_list("pk", "bytes")
        found: list[object] = []
        total = 0
        for pk, row_bytes in rows[pagination.offset : pagination.offset + pagination.limit]:
            total += row_bytes
            if found and total > PAGE_BYTES:
                break
            found.append(pk)
        by_id = queryset.in_bulk(found)
        return {"items": [by_id[pk] for pk in found if pk in by_id], "count": queryset.count()}


def _bytes_of(column: str) -> Coalesce:
    text = Cast(F(column), TextField())
    return Coalesce(Func(text, function="octet_length", output_field=IntegerField()), 0)


def matching(rows: Rows, **wanted: object) -> Rows:
    """Rows whose fields have these values; a field with None is not compared."""
    return rows.filter(**{name: value for name, value in wanted.items() if value is not None})


def ordered(rows: Rows, ordering: str) -> Rows:
    """Order rows by a field of an allow-list, equal ones by their ids: pages never overlap."""
    return rows.order_by(ordering, "-pk" if ordering.startswith("-") else "pk")
