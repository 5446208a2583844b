"""Admin lists of tables with millions of rows: nothing here counts or reads a whole table."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from django.contrib import admin
from django.contrib.auth import get_user_model
from django.core.paginator import Paginator
from django.db.models import Field, Model, QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext

if TYPE_CHECKING:
    from django_stubs_ext import StrOrPromise

AnyModel = TypeVar("AnyModel", bound=Model)

#: Lists end here, and actions take no more rows: filter or search for others.
MAX_ROWS = 10_000
#: How many of the newest rows a filter without an index reads: about 0.1 s.
MAX_FILTERED_ROWS = 100_000
#: Rows that a filter by a foreign key offers. For more, search.
MAX_CHOICES = 200


class CappedPaginator(Paginator):  # type: ignore[type-arg]
    """Counts up to `MAX_ROWS` and no further."""

    @cached_property
    def count(self) -> int:
        rows = self.object_list
        if not isinstance(rows, QuerySet):
            return len(rows)
        return rows.order_by()[:MAX_ROWS].count()


def newest(rows: QuerySet[AnyModel]) -> QuerySet[AnyModel]:
    """Keep the rows among the newest `MAX_FILTERED_ROWS` of their table, by primary key."""
    all_ids = rows.model._base_manager.order_by("-pk").values_list("pk", flat=True)  # noqa: SLF001
    oldest = all_ids[MAX_FILTERED_ROWS : MAX_FILTERED_ROWS + 1].first()
    return rows if oldest is None else rows.filter(pk__gt=oldest)


class LargeTable:
    """Mixin for the admin of a table with millions of rows: its list has one order, is counted up
    to `MAX_ROWS`, and is searched by `search`.

    Set `search_fields` as well: Django shows the search box only then.
    """

    sortable_by: ClassVar[list[str] | tuple[str, ...] | None] = ()
    paginator: ClassVar[type] = CappedPaginator
    show_full_result_count = False
    # Facets count the whole table once for each choice of each filter.
    show_facets = admin.ShowFacets.NEVER

    def search(self, queryset: QuerySet[Model], term: str) -> QuerySet[Model]:
        """Rows of `queryset` that match `term`, which is not blank. By default all."""
        return queryset

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Model], search_term: str
    ) -> tuple[QuerySet[Model], bool]:
        term = search_term.strip()
        return (self.search(queryset, term) if term else queryset), False


class _AmongNewest:
    """Mixin for the filter of a column without an index, which would make every write slower."""

    used_parameters: dict[str, object]
    title: StrOrPromise | None

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        self.title = gettext("%(filter)s (of the newest %(rows)s)") % {
            "filter": self.title,
            "rows": f"{MAX_FILTERED_ROWS:,}",
        }

    def queryset(self, request: HttpRequest, queryset: QuerySet[Model]) -> QuerySet[Model]:
        found: QuerySet[Model] = super().queryset(request, queryset)  # type: ignore[misc]
        return newest(found) if self.used_parameters else found


class NewestChoices(_AmongNewest, admin.ChoicesFieldListFilter):
    """Filters the newest rows by a column with choices."""


class NewestBoolean(_AmongNewest, admin.BooleanFieldListFilter):
    """Filters the newest rows by a boolean column."""


class NewestRelated(_AmongNewest, admin.RelatedFieldListFilter):
    """Filters the newest rows by a foreign key."""


class FewRelated(admin.RelatedFieldListFilter):
    """Filters by a foreign key that an index answers; offers the first `MAX_CHOICES` rows."""

    def field_choices(
        self, field: Field[Any, Any], request: HttpRequest, model_admin: admin.ModelAdmin[Model]
    ) -> list[tuple[str, StrOrPromise]]:
        model: Any = field.related_model
        rows = model._default_manager.all()[:MAX_CHOICES]  # noqa: SLF001
        return [(row.pk, str(row)) for row in rows]


def users_named(beginning: str) -> list[int]:
    """Primary keys of up to 100 users whose names begin so, for a query that an index answers."""
    users = get_user_model()._default_manager.filter(username__istartswith=beginning)  # noqa: SLF001
    return list(users.values_list("pk", flat=True)[:100])
