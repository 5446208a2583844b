"""Lists over tables of millions of rows: what they count, and what a filter looks through."""

from __future__ import annotations

import pytest
from django.contrib.auth import get_user_model

from accounts.models import User
from aily.admin import lists
from aily.admin.lists import CappedPaginator, newest, users_named


@pytest.fixture
def users(transactional_db: None) -> list[User]:
    return User.objects.bulk_create([User(username=f"u{number:02}") for number in range(10)])


def test_a_list_is_counted_to_its_end_and_no_further(
    users: list[User], monkeypatch: pytest.MonkeyPatch
) -> None:
    everybody = get_user_model().objects.order_by("pk")
    assert CappedPaginator(everybody, 4).count == len(users)
    monkeypatch.setattr(lists, "MAX_ROWS", 7)
    capped = CappedPaginator(everybody, 4)
    assert (capped.count, capped.num_pages) == (7, 2)


def test_a_filter_without_an_index_looks_through_the_newest_rows(
    users: list[User], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = User.objects.filter(username__startswith="u")
    assert newest(rows).count() == len(users)
    monkeypatch.setattr(lists, "MAX_FILTERED_ROWS", 3)
    assert set(newest(rows)) == set(users[-3:])
    assert list(newest(rows.filter(username="u00"))) == []


def test_users_are_found_by_the_beginning_of_their_names(users: list[User]) -> None:
    assert set(users_named("U0")) == {user.pk for user in users}
    assert users_named("u03") == [users[3].pk]
    assert users_named("%") == []
