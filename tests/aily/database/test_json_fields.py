"""Columns of JSON in their author's order."""

from __future__ import annotations

import json

import pytest
from django.db import connection

from aily.database.json_fields import OrderedJSONField

#: `jsonb` would put the short names first.
WRITTEN = '{"zebra": 1, "b": {"long": 1, "a": 2}, "aa": 12345678901234567890123}'


@pytest.mark.django_db
def test_a_value_comes_back_in_the_order_in_which_it_was_sent() -> None:
    field = OrderedJSONField()
    with connection.cursor() as cursor:
        kind = field.db_type(connection)
        value = field.get_db_prep_save(json.loads(WRITTEN), connection)
        cursor.execute(f"SELECT %s::{kind}", [value])
        (found,) = cursor.fetchone()
    assert json.dumps(field.from_db_value(found, None, connection)) == WRITTEN
    assert field.get_db_prep_save(None, connection) is None


def test_a_form_shows_it_in_lines() -> None:
    field = OrderedJSONField().formfield()
    assert field is not None
    assert field.prepare_value(json.loads(WRITTEN)) == json.dumps(json.loads(WRITTEN), indent=2)
