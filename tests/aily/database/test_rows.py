"""Rows of SQL statements: typed by the names of their columns."""

from __future__ import annotations

import tracemalloc

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings

from aily.database.backend import base
from aily.database.rows import (
    Row,
    RowMismatchError,
    Statement,
    execute,
    fetch_column,
    fetch_each,
    fetch_prepared,
    fetch_rows,
)


class Pair(Row, frozen=True):
    name: str
    size: int


class Total(Row, frozen=True):
    total: int


@pytest.mark.django_db
class TestFetchRows:
    def test_each_field_gets_the_column_of_its_name(self) -> None:
        sql = "SELECT 'a' AS name, 1 AS size UNION SELECT 'b', 2 ORDER BY name"
        assert fetch_rows(Pair, sql) == [Pair("a", 1), Pair("b", 2)]

    def test_the_order_of_the_columns_is_the_statements_own(self) -> None:
        sql = "SELECT length(v) AS size, v AS name FROM unnest(%(values)s::text[]) AS v"
        for _ in range(2):
            rows = fetch_rows(Pair, sql, {"values": ["abc", "d"]})
            assert [(row.name, row.size) for row in rows] == [("abc", 3), ("d", 1)]

    def test_one_class_fits_several_statements_with_orders_of_their_own(self) -> None:
        assert fetch_rows(Pair, "SELECT 'a' AS name, 1 AS size") == [Pair("a", 1)]
        assert fetch_rows(Pair, "SELECT 1 AS size, 'a' AS name") == [Pair("a", 1)]

    @pytest.mark.parametrize(
        ("columns", "fault"),
        [
            ("'a' AS name", "no column for the field 'size'"),
            ("'a' AS name, 1 AS size, 2 AS age", "no field for the column 'age'"),
            ("'a' AS name, 1 AS bytes", "no column for the field 'size'"),
            ("'a' AS name, 1 AS bytes", "no field for the column 'bytes'"),
            ("'a' AS name, 1 AS size, 2 AS size", "the column 'size' twice"),
            ("'a', 1", r"no field for the column '\?column\?'"),
        ],
    )
    def test_names_that_do_not_fit_are_named(self, columns: str, fault: str) -> None:
        # Whether or not the statement finds anything, and each time.
        for sql in (f"SELECT {columns}", f"SELECT {columns} WHERE false"):
            for _ in range(2):
                with pytest.raises(RowMismatchError, match=f"^Pair: .*{fault}"):
                    fetch_rows(Pair, sql)

    def test_a_statement_without_a_result_is_refused(self) -> None:
        with pytest.raises(RowMismatchError, match="no column for the field 'total'"):
            fetch_rows(Total, "SET LOCAL lock_timeout = '1s'")


@pytest.mark.django_db
class TestFetchEach:
    @pytest.mark.parametrize("is_prepared", [False, True])
    def test_several_statements_take_one_round_trip_unless_they_are_prepared(
        self, settings: Settings, is_prepared: bool
    ) -> None:
        settings.DATABASE_PREPARED_STATEMENTS = is_prepared
        pairs = Statement(Pair, "SELECT %s AS name, 3 AS size", ["a;'"])
        totals = Statement(
            Total, "SELECT count(*) AS total FROM unnest(%(all)s::int[])", {"all": [5]}
        )
        none = Statement(Total, "SELECT 1 AS total WHERE false")
        with CaptureQueriesContext(connection) as queries:
            found = fetch_each(pairs, totals, none)
        assert found == ([Pair("a;'", 3)], [Total(1)], [])
        assert len(queries) == (3 if is_prepared else 1)

    def test_names_that_do_not_fit_are_named_with_their_class(self) -> None:
        pairs = Statement(Pair, "SELECT 'a' AS name, 3 AS size")
        with pytest.raises(RowMismatchError, match=r"^Total: .*'sum'"):
            fetch_each(pairs, Statement(Total, "SELECT 1 AS sum"))

    def test_a_statement_can_be_run_alone(self) -> None:
        assert Statement(Total, "SELECT 7 AS total").fetch() == [Total(7)]


@pytest.mark.django_db
class TestFetchPrepared:
    SQL = "SELECT 'a' AS name, size FROM box WHERE size = ANY(%(sizes)s)"

    @pytest.fixture(autouse=True)
    def _box(self) -> None:
        execute("CREATE TEMPORARY TABLE box (size int PRIMARY KEY)")

    def fetch(self, *sizes: int) -> list[Pair]:
        return fetch_prepared(Pair, self.SQL, {"sizes": list(sizes)})

    def names(self) -> list[str]:
        """The server's names of the prepared statement."""
        sql = "SELECT name FROM pg_prepared_statements WHERE statement LIKE %s"
        return fetch_column(str, sql, ["%FROM box%"])

    def plan(self) -> str:
        [name] = self.names()
        return "".join(fetch_column(str, f"EXPLAIN EXECUTE {name}('{{5}}')"))

    def test_the_server_keeps_the_statement(self) -> None:
        execute("INSERT INTO box VALUES (1), (2), (3)")
        for size in (1, 2, 3, 4):
            assert self.fetch(size) == [Pair("a", size)] * (size < 4)
        assert len(self.names()) == 1

    def test_where_settings_forbid_it_nothing_is_kept(self, settings: Settings) -> None:
        settings.DATABASE_PREPARED_STATEMENTS = False
        execute("INSERT INTO box VALUES (1)")
        assert self.fetch(1) == [Pair("a", 1)]
        assert self.names() == []

    def test_other_statements_are_not_prepared(self) -> None:
        for _ in range(10):
            assert fetch_rows(Pair, self.SQL, {"sizes": [1]}) == []
        assert self.names() == []

    def test_texts_of_other_statements_are_not_kept(self) -> None:
        """With their values they may have megabytes."""
        self.fetch(1)
        [named] = self.names()
        tracemalloc.start()
        for number in range(10):
            execute("SELECT length(%s)", [str(number) * 1_000_000])
        kept, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert kept < 1_000_000
        assert self.names() == [named]

    def test_a_plan_for_an_empty_table_is_not_kept_when_it_has_grown(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        execute("SET LOCAL plan_cache_mode = force_generic_plan")
        execute("INSERT INTO box VALUES (0)")
        # As if it had been counted while it was empty.
        execute("ANALYZE box")
        self.fetch(5)
        assert "Seq Scan" in self.plan()
        execute("INSERT INTO box SELECT generate_series(1, 20000)")
        self.fetch(5)
        assert "Seq Scan" in self.plan()
        monkeypatch.setattr(base, "PLAN_SECONDS", 0.0)
        self.fetch(5)
        assert "Seq Scan" not in self.plan()


@pytest.mark.django_db
class TestFetchColumn:
    def test_returns_the_values(self) -> None:
        assert fetch_column(int, "SELECT v FROM unnest(%s::int[]) AS v", [[1, 2]]) == [1, 2]
        assert fetch_column(int, "SELECT 1 WHERE false") == []

    @pytest.mark.parametrize("columns", ["1, 2", "'a'", "NULL"])
    def test_anything_but_one_column_of_its_kind_is_refused(self, columns: str) -> None:
        with pytest.raises(RowMismatchError, match="not one column of int"):
            fetch_column(int, f"SELECT {columns}")


@pytest.mark.django_db
def test_execute_returns_how_many_rows_it_changed() -> None:
    execute("CREATE TEMPORARY TABLE fruit (name text)")
    assert execute("INSERT INTO fruit SELECT unnest(%s::text[])", [["a", "b"]]) == 2
    assert execute("DELETE FROM fruit WHERE name = 'x'") == 0
