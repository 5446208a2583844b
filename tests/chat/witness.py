"""A worker beside those that a test lets die."""

from __future__ import annotations

from datetime import timedelta

from django.utils import timezone

from chat.models import Worker


def make_witness() -> None:
    """A worker whose lease was renewed for long, so that it may declare others dead."""
    now = timezone.now()
    Worker.objects.create(
        hostname="witness",
        pid=1,
        lease_until=now + timedelta(hours=1),
        steady_since=now - timedelta(hours=1),
    )
