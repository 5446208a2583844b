"""pytest plugin: empties the test database after a test that commits, in a tenth of Django's time.

Django's own way truncates every table, empty or not, and writes all permissions and content types
anew: 0.1 s of two processes' time for each of many hundred tests.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.db import DEFAULT_DB_ALIAS, OperationalError, connections
from django.test import TransactionTestCase
from psycopg.errors import DeadlockDetected

#: Work that a test left running may hold one table and wait for another; it ends by itself.
_TRIES = 5

#: Tables that migrations fill stay. Writers are locked out as by TRUNCATE, so that no late commit
#: stays behind. A table with a trigger of its own (the append-only ledger) lets no row be deleted;
#: it has no referrers.
_EMPTY = """
DO $$
DECLARE
  name regclass;
  is_filled boolean;
BEGIN
  FOR name IN SELECT oid::regclass FROM pg_class
              WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace
                AND relname NOT IN ('django_migrations', 'django_content_type', 'auth_permission',
                                    'chat_idkey')
              ORDER BY oid LOOP
    EXECUTE 'LOCK TABLE ' || name || ' IN SHARE ROW EXCLUSIVE MODE';
    EXECUTE 'SELECT EXISTS (SELECT FROM ' || name || ')' INTO is_filled;
    IF is_filled AND EXISTS (SELECT FROM pg_trigger WHERE tgrelid = name AND NOT tgisinternal) THEN
      EXECUTE 'TRUNCATE ' || name;
    ELSIF is_filled THEN
      EXECUTE 'DELETE FROM ' || name;
    END IF;
  END LOOP;
END $$
"""


def empty_tables(test_case: TransactionTestCase | None = None) -> None:
    """Delete what tests have committed."""
    for tries_left in reversed(range(_TRIES)):
        try:
            with connections[DEFAULT_DB_ALIAS].cursor() as cursor:
                cursor.execute(_EMPTY)
            return
        except OperationalError as error:
            if not tries_left or not isinstance(error.__cause__, DeadlockDetected):
                raise


@pytest.fixture(autouse=True, scope="session")
def _fast_teardown() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TransactionTestCase, "_fixture_teardown", empty_tables)
        yield
