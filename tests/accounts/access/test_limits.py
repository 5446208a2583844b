"""Limits in the admin: staff sets them for a user, a role or a key."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Group
from django.test import Client

from accounts.models import APIKey, RoleLimits, User


@pytest.fixture
def admin(staff: User, client: Client) -> Client:
    staff.is_superuser = True
    staff.save()
    client.force_login(staff)
    return client


def test_the_limits_of_users_roles_and_keys_are_set_in_the_admin(
    admin: Client, alice: User
) -> None:
    key, _ = APIKey.create(alice, "laptop")
    for path in (f"user/{alice.pk}", f"apikey/{key.pk}"):
        page = admin.get(f"/admin/accounts/{path}/change/").content.decode()
        assert 'name="requests_per_minute"' in page
    role = Group.objects.create(name="trial")
    made = admin.post(
        "/admin/accounts/rolelimits/add/", {"role": role.pk, "max_tasks_in_flight": 7}
    )
    assert made.status_code == 302
    assert RoleLimits.objects.get().max_tasks_in_flight == 7


def test_zero_is_no_limit_that_staff_can_set(admin: Client) -> None:
    role = Group.objects.create(name="trial")
    refused = admin.post(
        "/admin/accounts/rolelimits/add/", {"role": role.pk, "max_tasks_queued": 0}
    )
    assert refused.status_code == 200
    assert not RoleLimits.objects.exists()
