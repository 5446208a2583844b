"""The lock that whatever writes rows shares, and a change of the fields takes for itself."""

from __future__ import annotations

from aily.database.rows import execute, fetch_column
from aily.problems import NotFound
from chat.exceptions import because
from chat.reasons import Reason
from chat.tables.ddl import LOCK_SECONDS

#: Seconds of one statement that writes or reads rows.
STATEMENT_SECONDS = 5

_BOUND = "SELECT set_config('statement_timeout', %s, true), set_config('lock_timeout', %s, true)"
_SHARE = "SELECT id FROM tables_table WHERE id = %s AND deleted_at IS NULL FOR KEY SHARE"


def share_table(table_id: int) -> None:
    """Keep the fields of a table as they are until the end of the transaction, whose statements
    get bounds of time.

    To be called first by whatever writes rows. Raises NotFound.
    """
    milliseconds = [str(STATEMENT_SECONDS * 1000), str(int(LOCK_SECONDS * 1000))]
    execute(_BOUND, milliseconds)
    if not fetch_column(int, _SHARE, [table_id]):
        raise because(NotFound, Reason("no_such_table"))
