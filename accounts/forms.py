"""Forms of logging in and of the second factor."""

from __future__ import annotations

from typing import Any

from django import forms

from accounts.models import User


class CodeForm(forms.Form):
    """A code of the authenticator app, or a recovery code."""

    code = forms.CharField(max_length=40)


class EnrolForm(CodeForm):
    """The first code, and the password: a session that somebody left open is not enough."""

    password = forms.CharField(strip=False, required=False)

    def __init__(self, user: User, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._user = user

    def clean_password(self) -> str:
        password: str = self.cleaned_data["password"]
        # Who comes by a login provider has none.
        if self._user.has_usable_password() and not self._user.check_password(password):
            raise forms.ValidationError("This is not your password.")
        return password
