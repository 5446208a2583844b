"""Admin of webhooks and e-mail: endpoints and deliveries. Secrets are never shown."""

from __future__ import annotations

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from aily.admin.lists import LargeTable, NewestChoices
from aily.problems import Conflict
from chat.admin.problems import shown_sentence, translated
from chat.admin.readonly import ReadOnlyAdmin
from chat.delivery import outcomes
from chat.models import Delivery, NotificationPreferences, WebhookEndpoint
from chat.services.webhooks import change_endpoint, redeliver

#: Rows that one action takes.
MAX_ROWS = 1000


@admin.register(WebhookEndpoint)
class WebhookEndpointAdmin(ReadOnlyAdmin):
    list_display = (
        "id", "owner", "url", "is_active", "why_disabled", "failing_since", "created_at"
    )  # fmt: skip
    list_select_related = ("owner",)
    list_filter = ("is_active",)
    search_fields = ("owner__username", "url")
    exclude = ("secret", "previous_secret", "disabled_reason")
    readonly_fields = ("why_disabled",)
    actions = ("disable",)

    def has_operate_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("chat.change_webhookendpoint")

    @admin.display(description=_("disabled reason"))
    def why_disabled(self, endpoint: WebhookEndpoint) -> str:
        return shown_sentence(endpoint.disabled_reason)

    @admin.action(description=_("Disable selected endpoints"), permissions=["operate"])
    def disable(self, request: HttpRequest, queryset: QuerySet[WebhookEndpoint]) -> None:
        for endpoint in queryset.filter(is_active=True)[:MAX_ROWS]:
            endpoint.disabled_reason = str(outcomes.BY_STAFF)
            change_endpoint(endpoint, {"is_active": False})
        messages.success(request, gettext("Disabled."))


@admin.register(Delivery)
class DeliveryAdmin(LargeTable, ReadOnlyAdmin):
    list_display = (
        "id", "kind", "owner", "event", "state", "attempts", "response_status", "failure",
        "next_attempt_at", "created_at",
    )  # fmt: skip
    exclude = ("error",)
    readonly_fields = ("failure",)
    list_select_related = ("owner",)
    # Not by event: that filter would read the whole table for the existing values.
    list_filter = (("state", NewestChoices), ("kind", NewestChoices))
    raw_id_fields = ("task",)
    ordering = ("-id",)
    actions = ("send_again",)

    def has_operate_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("chat.change_delivery")

    @admin.display(description=_("error"))
    def failure(self, delivery: Delivery) -> str:
        return shown_sentence(delivery.error, code="delivery_failed")

    @admin.action(description=_("Send selected deliveries again"), permissions=["operate"])
    def send_again(self, request: HttpRequest, queryset: QuerySet[Delivery]) -> None:
        sent = 0
        for delivery in queryset.select_related("endpoint")[:MAX_ROWS]:
            try:
                redeliver(delivery)
                sent += 1
            except Conflict as conflict:
                messages.warning(request, f"{delivery}: {translated(conflict)}")
        text = ngettext(
            "Sending %(count)d delivery again.", "Sending %(count)d deliveries again.", sent
        )
        messages.success(request, text % {"count": sent})


@admin.register(NotificationPreferences)
class NotificationPreferencesAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    list_display = (
        "user", "email_on_finished", "email_on_failed", "email_on_requires_action",
        "email_on_budget_near_end",
    )  # fmt: skip
    list_select_related = ("user",)
    raw_id_fields = ("user",)
