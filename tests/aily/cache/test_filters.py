"""Filters of the keys there are: made-up ones cost few queries."""

from __future__ import annotations

from aily.cache import store, unlink_matching
from tests.aily.cache.tables import Table


def test_a_hundred_thousand_lookups_of_things_that_do_not_exist_cost_under_1000_queries() -> None:
    table = Table({key: str(key) for key in range(1_000)})
    process = table.filtered()
    for start in range(1_000, 101_000, 1_000):
        assert process.get_many(range(start, start + 1_000)) == {}
    # One key in a hundred gets through, together with others of its moment.
    assert table.built.total() < 2_000
    assert table.queries < 1_000
    assert process.get_many(range(2_000)) == table.rows


def test_one_by_one_they_cost_a_query_for_each_hundred() -> None:
    table = Table({key: str(key) for key in range(1_000)})
    process = table.filtered()
    for key in range(1_000, 2_000):
        assert process.get(key) is None
    assert table.queries < 40


def test_a_filter_lets_through_what_was_made_a_moment_ago_in_any_process() -> None:
    table = Table({0: "0"})
    maker, reader = table.filtered(), table.filtered()
    for key in range(1, 20):
        assert reader.get(key) is None
        table.rows[key] = str(key)
        maker.added([key])
        unlink_matching("aily:cache:*")
        reader._local.clear()
        assert reader.get(key) == str(key)


def test_a_filter_that_lost_its_mark_is_not_trusted() -> None:
    table = Table({0: "0"})
    reader = table.filtered()
    assert reader.get(1) is None
    table.rows[1] = "1"
    store.client().flushdb()
    reader._local.clear()
    assert reader.get(1) == "1"
