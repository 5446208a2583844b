"""Pages of logging in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from asgiref.sync import sync_to_async
from django.conf import settings
from django.contrib.auth import views
from django.contrib.auth.forms import AuthenticationForm
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.template.response import TemplateResponse
from django.utils.translation import ngettext
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods

from accounts.models import User
from accounts.sessions.attempts import Attempt
from accounts.sessions.forms import CodeForm, LoginForm
from accounts.sessions.login import begin_login, complete_login, pending_user
from accounts.sessions.totp import CodeRefusedError
from aily.database.threads import release_connections
from aily.problems import Busy

R = TypeVar("R")


class LoginPage(views.LoginView):
    """The login form. `attempt`: the attempt at a password that this request makes, if any."""

    form_class = LoginForm
    redirect_authenticated_user = True
    attempt: Attempt | None = None

    def form_valid(self, form: AuthenticationForm) -> HttpResponse:
        user = form.get_user()
        if self.attempt is not None:
            self.attempt.succeeded(is_last_step=not user.has_totp)
        return begin_login(self.request, user, self.get_success_url())

    def form_invalid(self, form: AuthenticationForm) -> HttpResponse:
        if self.attempt is not None:
            self.attempt.failed()
        return super().form_invalid(form)


@never_cache
@sensitive_post_parameters()
async def log_in(request: HttpRequest) -> HttpResponse:
    """The login page. A password is checked once the gates admit it, on few threads."""
    username, password = (request.POST.get(name, "") for name in ("username", "password"))
    if request.method != "POST" or not (username and password):
        return await _in_thread(_login_page(None), request)
    attempt = Attempt.at_password(request, username)
    if seconds := await attempt.enter():
        return _refused_login(request, username, seconds)
    return await _in_thread(_check_password, request, attempt)


def _login_page(attempt: Attempt | None) -> Callable[[HttpRequest], Any]:
    return LoginPage.as_view(attempt=attempt, extra_context=_login_context())


def _login_context() -> dict[str, str]:
    return {"oidc_name": settings.OIDC_NAME if settings.OIDC_ISSUER else ""}


def _check_password(request: HttpRequest, attempt: Attempt) -> HttpResponse:
    try:
        response: HttpResponse = _login_page(attempt)(request)
        # Rendered in this thread, which has the database connection that it may need.
        if isinstance(response, TemplateResponse):
            response.render()
        return response
    except Busy as busy:
        return _refused_login(request, attempt.username, busy.retry_after_seconds or 1)
    finally:
        attempt.withdraw()


def _refused_login(request: HttpRequest, username: str, seconds: int) -> HttpResponse:
    # The same whether or not there is such an account.
    context = {
        "form": LoginForm(request, initial={"username": username[:150]}),
        "next": request.POST.get("next", ""),
        "refusal": _too_often(seconds),
        **_login_context(),
    }
    response = render(request, "registration/login.html", context, status=429)
    return _with_retry_after(response, seconds)


def _with_retry_after(response: HttpResponse, seconds: int) -> HttpResponse:
    response["Retry-After"] = str(seconds)
    # Django would log each 429; accounts/sessions/login_log.py logs a flood once.
    response._has_been_logged = True  # type: ignore[attr-defined]  # noqa: SLF001
    return response


def _too_often(seconds: int) -> str:
    return ngettext(
        "Too many tries to log in. Try again in %(seconds)d second.",
        "Too many tries to log in. Try again in %(seconds)d seconds.",
        seconds,
    ) % {"seconds": seconds}


async def _in_thread(work: Callable[..., R], *args: object) -> R:
    """Run `work` on the request's thread, and give its database connection back afterwards."""

    def run() -> R:
        try:
            return work(*args)
        finally:
            release_connections()

    result: R = await sync_to_async(run, thread_sensitive=True)()
    return result


# --- The second step ------------------------------------------------------------------------------
@never_cache
@sensitive_post_parameters()
@require_http_methods(["GET", "HEAD", "POST"])
async def log_in_by_code(request: HttpRequest) -> HttpResponse:
    """The second step of logging in."""
    user = await _in_thread(pending_user, request)
    if user is None:
        return redirect("login")
    form = CodeForm(request.POST or None)
    if not form.is_valid():
        return _code_page(request, user, form)
    attempt = Attempt.at_code(request, user.get_username())
    if seconds := await attempt.enter():
        form.add_error(None, _too_often(seconds))
        return _with_retry_after(_code_page(request, user, form, status=429), seconds)
    return await _in_thread(_check_code, request, user, form, attempt)


def _check_code(request: HttpRequest, user: User, form: CodeForm, attempt: Attempt) -> HttpResponse:
    try:
        response = complete_login(
            request, user, form.cleaned_data["code"], is_known_device=attempt.is_known_device
        )
        attempt.succeeded(is_last_step=True)
        return response
    except CodeRefusedError as error:
        attempt.failed()
        form.add_error(None, str(error))
        return _code_page(request, user, form)
    finally:
        attempt.withdraw()


def _code_page(request: HttpRequest, user: User, form: CodeForm, status: int = 200) -> HttpResponse:
    context = {"form": form, "username": user.username}
    return render(request, "accounts/login_code.html", context, status=status)
