"""Names of rows: a made-up one costs no query, one that was just made is known at once."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from accounts.models import APIKey, User
from aily.cache.keys import Keyspace
from aily.cache.known import KnownRows
from chat.models import Scene

SLUGS = Keyspace[int]("test_slugs", version=1)


@pytest.fixture
def known(transactional_db: None) -> KnownRows[str]:
    rows: KnownRows[str] = KnownRows(SLUGS, Scene, str, name="slug")
    rows.connect_signals()
    return rows


def queries(work: Any) -> int:
    with CaptureQueriesContext(connection) as captured:
        work()
    return len(captured)


def test_made_up_names_cost_one_query_in_all(known: KnownRows[str]) -> None:
    Scene.objects.create(slug="there", title="There")
    assert queries(lambda: [known.may_exist(f"made-up-{number}") for number in range(50)]) == 1
    assert queries(lambda: known.may_exist("there")) == 0
    assert known.may_exist("there")
    assert not known.may_exist("made-up-0")


def test_a_row_is_known_from_its_commit_to_its_end(known: KnownRows[str]) -> None:
    assert not known.may_exist("new")
    scene = Scene.objects.create(slug="new", title="New")
    assert known.may_exist("new")
    scene.slug = "renamed"
    scene.save()
    assert known.may_exist("renamed")
    scene.delete()
    assert not known.may_exist("renamed")


def test_within_a_transaction_nothing_is_ruled_out(known: KnownRows[str]) -> None:
    with transaction.atomic():
        assert known.may_exist("made-up")
    assert not known.may_exist("made-up")


def test_owners_have_names_of_their_own(alice: User, bob: User) -> None:
    keyspace = Keyspace[int]("test_key_ids", version=1)
    known: KnownRows[int] = KnownRows(keyspace, APIKey, int, name="id", owner="owner_id")
    key, _ = APIKey.create(alice, "hers")
    assert known.may_exist(key.pk, alice.pk)
    assert not known.may_exist(key.pk, bob.pk)
