"""Admin pages of what has addresses that calls go to: providers, tool servers."""

from __future__ import annotations

from django.db import connection
from django.http import HttpRequest, HttpResponse

from chat.admin.request_forms import RequestFormAdmin
from chat.services.providers import Addresses, resolve_blocking


class AddressesAdmin(RequestFormAdmin):
    """Its form has the attributes `actor` (the user who saves) and `addresses` (of its URLs)."""

    #: Fields of the form that are URLs.
    address_fields: tuple[str, ...]

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, object] | None = None,
    ) -> HttpResponse:
        """Look the addresses up before Django opens its transaction."""
        addresses: Addresses = {}
        may_save = self.has_add_permission(request) or self.has_change_permission(request)
        if request.method == "POST" and may_save:
            if not connection.in_atomic_block:
                connection.close()  # goes back to the pool while a name server is waited for
            urls = (request.POST.get(name, "") for name in self.address_fields)
            addresses = resolve_blocking(urls)
        request.addresses = addresses  # type: ignore[attr-defined]
        return super().changeform_view(request, object_id, form_url, extra_context)

    def form_attributes(self, request: HttpRequest) -> dict[str, object]:
        return {"actor": request.user, "addresses": getattr(request, "addresses", {})}
