"""Forms of logging in, of the second factor and of one's own password."""

from __future__ import annotations

from django import forms
from django.contrib.auth.forms import AuthenticationForm, SetPasswordForm
from django.core.validators import MaxLengthValidator
from django.http import HttpRequest, QueryDict
from django.utils.translation import gettext as _

from accounts.models import User
from accounts.sessions.attempts import is_own_password
from aily.problems import LimitReached

#: Of a password, in characters: hashing reads all of it.
MAX_PASSWORD_LENGTH = 1000


class LoginForm(AuthenticationForm):
    """Django's, with a bound on the password."""

    password = forms.CharField(strip=False, max_length=MAX_PASSWORD_LENGTH)


class CodeForm(forms.Form):
    """A code of the authenticator app, or a recovery code."""

    code = forms.CharField(max_length=40)


def _check_own_password(request: HttpRequest, user: User, password: str) -> str:
    """Return the password. Raises ValidationError if it is not the user's."""
    try:
        is_right = is_own_password(request, user, password)
    except LimitReached as error:
        raise forms.ValidationError(error.message) from None
    if not is_right:
        raise forms.ValidationError(_("This is not your password."))
    return password


class EnrolForm(CodeForm):
    """The first code, and the password: a session that was left open is not enough."""

    password = forms.CharField(strip=False, required=False, max_length=MAX_PASSWORD_LENGTH)

    def __init__(self, request: HttpRequest, user: User, data: QueryDict | None) -> None:
        super().__init__(data)
        self._request, self._user = request, user

    def clean_password(self) -> str:
        password: str = self.cleaned_data["password"]
        # A user of a login provider has none.
        if not self._user.has_usable_password():
            return password
        return _check_own_password(self._request, self._user, password)


class PasswordForm(SetPasswordForm):  # type: ignore[type-arg]
    """The old password, and the new one twice."""

    old_password = forms.CharField(strip=False, max_length=MAX_PASSWORD_LENGTH)
    field_order = ("old_password", "new_password1", "new_password2")

    def __init__(self, request: HttpRequest, user: User, data: QueryDict | None) -> None:
        super().__init__(user, data)
        self._request = request
        for name in ("new_password1", "new_password2"):
            self.fields[name].validators.append(MaxLengthValidator(MAX_PASSWORD_LENGTH))

    def clean_old_password(self) -> str:
        return _check_own_password(self._request, self.user, self.cleaned_data["old_password"])
