"""The admin's site: uses the login page of this app, and asks for the second factor."""

from __future__ import annotations

from typing import cast

from django.contrib.auth import REDIRECT_FIELD_NAME
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext_lazy as _
from django.views.i18n import JavaScriptCatalog

from accounts.models import User
from accounts.sessions.totp import lacks_second_factor
from accounts.sessions.user_sessions import note_use_in_thread
from aily.admin import site as admin_site


class Site(admin_site.Site):
    site_header = site_title = "aily"
    index_title = _("Administration")

    def has_permission(self, request: HttpRequest) -> bool:
        user = request.user
        if not isinstance(user, User) or not super().has_permission(request):
            return False
        if lacks_second_factor(user, request.session):
            return False
        note_use_in_thread(user.pk, request)
        return True

    def i18n_javascript(self, request: HttpRequest, extra_context: object = None) -> HttpResponse:
        """Serve the texts of the admin's scripts, with those that Django's catalogue lacks."""
        view = JavaScriptCatalog.as_view(packages=["django.contrib.admin", "aily"])
        return cast("HttpResponse", view(request))

    def password_change(  # type: ignore[override]
        self, request: HttpRequest, extra_context: dict[str, object] | None = None
    ) -> HttpResponse:
        """Redirect to the account's page: the admin's form does not limit guesses at passwords."""
        return redirect("password")

    def login(
        self, request: HttpRequest, extra_context: dict[str, object] | None = None
    ) -> HttpResponse:
        """Send users without access to the login page, the second factor, or an error page."""
        target = request.GET.get(REDIRECT_FIELD_NAME, "")
        if not url_has_allowed_host_and_scheme(target, {request.get_host()}):
            target = reverse("admin:index", current_app=self.name)
        if self.has_permission(request):
            return HttpResponseRedirect(target)
        user = request.user
        if not isinstance(user, User):
            return redirect_to_login(target, reverse("login"))
        if user.is_staff and lacks_second_factor(user, request.session):
            return redirect("totp")
        raise PermissionDenied
