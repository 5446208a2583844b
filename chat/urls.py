"""Pages of the web app."""

from __future__ import annotations

from django.urls import path

from chat import views

urlpatterns = [path("", views.index, name="index")]
