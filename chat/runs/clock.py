"""The time by which runs start, wait for cheap hours and expire: one place, so that it can be set
in a test."""

from __future__ import annotations

from datetime import datetime

from django.utils import timezone


def now() -> datetime:
    return timezone.now()
