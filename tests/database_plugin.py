"""pytest plugin: empties the test database after a test that commits, in a tenth of Django's time.

Django's own way truncates every table, empty or not, and writes all permissions and content types
anew: 0.1 s of two processes' time for each of many hundred tests.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.db import DEFAULT_DB_ALIAS, OperationalError, connections
from django.db.backends.utils import CursorWrapper
from django.test import TransactionTestCase
from psycopg.errors import DeadlockDetected

#: Work that a test left running may hold one table and wait for another; it ends by itself.
_TRIES = 5

#: Those that tests may fill, in the order in which they are locked, and whether each has a trigger
#: of its own. Tables that migrations fill stay.
_TABLES = """
SELECT oid::regclass::text,
       EXISTS (SELECT FROM pg_trigger WHERE tgrelid = pg_class.oid AND NOT tgisinternal)
  FROM pg_class
 WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace
   AND relname NOT IN ('django_migrations', 'django_content_type', 'auth_permission', 'chat_idkey')
 ORDER BY oid
"""
#: Changes with every table that is made or dropped.
_FINGERPRINT = """
SELECT COALESCE(sum(oid::bigint), 0) FROM pg_class
 WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace
"""
#: A function, whose plans PostgreSQL keeps: some ninety tables are looked at in less than a
#: millisecond. False: there are other tables than those it was made for. Writers are locked out as
#: by TRUNCATE, so that no late commit stays behind. A superuser's rows go without a look at what
#: refers to them, which is deleted as well.
_FUNCTION = """
CREATE OR REPLACE FUNCTION empty_tables() RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
  IF ({fingerprint}) <> {value} THEN
    RETURN false;
  END IF;
  IF current_setting('is_superuser') = 'on' THEN
    SET LOCAL session_replication_role = replica;
  END IF;
  LOCK TABLE {names} IN SHARE ROW EXCLUSIVE MODE;
  {deletes}
  RETURN true;
END $$
"""


def empty_tables(test_case: TransactionTestCase | None = None) -> None:
    """Delete what tests have committed."""
    for tries_left in reversed(range(_TRIES)):
        try:
            with connections[DEFAULT_DB_ALIAS].cursor() as cursor:
                if not _call(cursor):
                    _make_function(cursor)
                    _call(cursor)
            return
        except OperationalError as error:
            if not tries_left or not isinstance(error.__cause__, DeadlockDetected):
                raise


def _call(cursor: CursorWrapper) -> bool:
    """Whether the function is there and has done its work."""
    cursor.execute("SELECT to_regproc('empty_tables') IS NOT NULL")
    if cursor.fetchone() != (True,):
        return False
    cursor.execute("SELECT empty_tables()")
    return bool(cursor.fetchone() == (True,))


def _make_function(cursor: CursorWrapper) -> None:
    cursor.execute(_FINGERPRINT)
    [[value]] = cursor.fetchall()
    cursor.execute(_TABLES)
    tables = cursor.fetchall()
    # A table with a trigger of its own (the append-only ledger) lets no row be deleted; it has no
    # referrers. Each change of session_replication_role makes PostgreSQL plan all statements anew:
    # a table without a page, and so without a row, spares the plan of looking into it.
    deletes = [
        f"IF pg_relation_size('{name}') > 0 THEN IF EXISTS (SELECT FROM {name}) THEN "
        f"{'TRUNCATE' if has_trigger else 'DELETE FROM'} {name}; END IF; END IF;"
        for name, has_trigger in tables
    ]
    function = _FUNCTION.format(
        fingerprint=_FINGERPRINT,
        value=value,
        names=", ".join(name for name, _ in tables),
        deletes="\n  ".join(deletes),
    )
    cursor.execute(function)


@pytest.fixture(autouse=True, scope="session")
def _fast_teardown() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TransactionTestCase, "_fixture_teardown", empty_tables)
        yield
