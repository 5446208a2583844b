"""Admin pages whose form knows the request that it is sent by."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import Model
from django.http import HttpRequest


class RequestFormAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Its form has what `form_attributes` returns as attributes."""

    def form_attributes(self, request: HttpRequest) -> dict[str, object]:
        raise NotImplementedError

    def get_form(
        self, request: HttpRequest, obj: Model | None = None, change: bool = False, **kwargs: object
    ) -> type[forms.ModelForm[Any]]:
        form: type[forms.ModelForm[Any]] = super().get_form(request, obj, change, **kwargs)
        return type(form.__name__, (form,), self.form_attributes(request))
