"""Admin of prices, budgets and the ledger; the ledger's list is the usage report."""

from __future__ import annotations

from django.contrib import admin
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from aily.admin.lists import (
    LargeTable,
    NewestBoolean,
    NewestChoices,
    NewestRelated,
    newest,
    users_named,
)
from chat.accounting.reports import GROUPS, in_days, state, usage_by, with_current_periods
from chat.admin.readonly import ReadOnlyAdmin, ReadOnlyInline
from chat.models import Budget, BudgetPeriod, LedgerEntry, ModelPrice
from chat.models.budgets import DIMENSIONS

_UNITS = {"calls": _("calls"), "tokens": _("tokens")}


def _unit(budget: Budget, dimension: str) -> str:
    return budget.currency if dimension == "money" else str(_UNITS[dimension])


@admin.register(ModelPrice)
class ModelPriceAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    list_display = (
        "model", "input_price", "cached_input_price", "output_price", "currency", "valid_from",
        "valid_until", "weekdays", "starts_at", "ends_at",
    )  # fmt: skip
    list_select_related = ("model",)
    list_filter = ("model", "currency")


# --- Budgets ------------------------------------------------------------------------------------
class PeriodInline(ReadOnlyInline):
    model = BudgetPeriod
    fields = (
        "starts_at", "reserved_calls", "reserved_tokens", "reserved_money", "spent_calls",
        "spent_tokens", "spent_money",
    )  # fmt: skip
    readonly_fields = fields
    verbose_name_plural = _("periods, the newest first")


@admin.register(Budget)
class BudgetAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    list_display = ("name", "user", "api_key", "period", "limits", "current", "is_active")
    list_select_related = ("user", "api_key")
    list_filter = ("period", "is_active")
    list_per_page = 50
    search_fields = ("name", "user__username", "api_key__prefix", "api_key__name")
    autocomplete_fields = ("user", "api_key")
    inlines = (PeriodInline,)

    @admin.display(description=_("limits"))
    def limits(self, budget: Budget) -> str:
        values = {name: getattr(budget, f"limit_{name}") for name in DIMENSIONS}
        return ", ".join(
            f"{value:f} {_unit(budget, name)}"
            for name, value in values.items()
            if value is not None
        )

    @admin.display(description=_("spent in this period (reserved)"))
    def current(self, budget: Budget) -> str:
        now = state(budget)
        parts = [(name, getattr(now, name)) for name in DIMENSIONS]
        return ", ".join(
            f"{part.spent:f} ({part.reserved:f}) {_unit(budget, name)}"
            for name, part in parts
            if part.limit is not None
        )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Budget]:
        return with_current_periods(super().get_queryset(request))

    def get_readonly_fields(
        self, request: HttpRequest, obj: Budget | None = None
    ) -> tuple[str, ...]:
        # The counters are those of this owner, period and currency: for others make a new budget.
        return () if obj is None else ("user", "api_key", "period", "currency")


# --- Ledger -------------------------------------------------------------------------------------
class EntryFilter(admin.SimpleListFilter):
    """Usage entries, or entries of budgets."""

    title = _("entries")
    parameter_name = "entries"

    def lookups(
        self, request: HttpRequest, model_admin: admin.ModelAdmin[Model]
    ) -> list[tuple[str, str]]:
        return [("usage", gettext("Usage of tasks")), ("budgets", gettext("Of budgets"))]

    def queryset(
        self, request: HttpRequest, queryset: QuerySet[LedgerEntry]
    ) -> QuerySet[LedgerEntry]:
        match self.value():
            case "usage":
                return queryset.filter(budget__isnull=True)
            case "budgets":
                return newest(queryset.filter(budget__isnull=False))
            case _:
                return queryset


@admin.register(LedgerEntry)
class LedgerEntryAdmin(LargeTable, ReadOnlyAdmin):
    list_display = (
        "at", "task_id", "owner", "model", "scene", "budget", "kind", "prompt_tokens",
        "completion_tokens", "money", "currency",
    )  # fmt: skip
    list_select_related = ("owner", "model", "scene", "budget")
    list_filter = (
        EntryFilter,
        # Not as a hierarchy, which would read the whole ledger for the days there are.
        ("at", admin.DateFieldListFilter),
        ("kind", NewestChoices),
        ("is_estimated", NewestBoolean),
        ("model", NewestRelated),
    )
    list_per_page = 50
    search_fields = ("owner__username",)
    search_help_text = _("The beginning of the owner's name: finds usage.")

    def search(self, queryset: QuerySet[Model], term: str) -> QuerySet[Model]:
        # Only usage has an index by owner.
        return queryset.filter(budget__isnull=True, owner__in=users_named(term))

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, object] | None = None
    ) -> HttpResponse:
        response = super().changelist_view(request, extra_context)
        if isinstance(response, TemplateResponse) and response.context_data:
            changes = response.context_data.get("cl")
            if changes is not None:
                response.context_data.update(_totals(request, changes.queryset))
        return response


def _totals(request: HttpRequest, listed: QuerySet[LedgerEntry]) -> dict[str, object]:
    """Sums of the listed usage; only of today if no time is chosen, as the ledger may have millions
    of entries."""
    usage = listed.filter(budget__isnull=True)
    is_chosen = any(name.startswith("at__") for name in request.GET)
    if not is_chosen:
        today = timezone.now().date()
        usage = in_days(usage, today, today)
    tables = [
        (gettext("Model"), usage_by(usage, GROUPS["model"])),
        (gettext("User"), usage_by(usage, GROUPS["user"])),
    ]
    heading = gettext("Usage of the time chosen") if is_chosen else gettext("Usage of today")
    return {"totals": tables, "totals_heading": heading}
