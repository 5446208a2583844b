"""Tables of users, their imports and exports."""

from __future__ import annotations

from aily.settings.environment import GIBIBYTE, env

# Tables of an installation and of one user, and rows of one table. Each has some 60 KB of
# PostgreSQL's catalogue and files, and pg_dump locks all of them at once.
TABLES_MAX = env.integer("TABLES_MAX", default=10_000, minimum=1, maximum=100_000)
TABLES_MAX_PER_USER = env.integer("TABLES_MAX_PER_USER", default=1000, minimum=1)
TABLE_MAX_ROWS = env.integer("TABLE_MAX_ROWS", default=1_000_000, minimum=1, maximum=10_000_000)
# Longest time of one query of a view: filters and sorts of people may be of any kind.
TABLE_QUERY_SECONDS = env.seconds("TABLE_QUERY_SECONDS", default=5, maximum=60)
# Largest file of an import, unpacked, and largest workbook (XLSX). Imports and exports of one user
# that have not ended; largest file of an export, and hours for which it is kept.
IMPORT_MAX_BYTES = env.integer(
    "IMPORT_MAX_BYTES", default=104_857_600, minimum=1024, maximum=GIBIBYTE
)
IMPORT_MAX_WORKBOOK_BYTES = env.integer(
    "IMPORT_MAX_WORKBOOK_BYTES", default=31_457_280, minimum=1024, maximum=GIBIBYTE
)
IMPORTS_MAX_PER_USER = env.integer("IMPORTS_MAX_PER_USER", default=20, minimum=1)
EXPORTS_MAX_PER_USER = env.integer("EXPORTS_MAX_PER_USER", default=5, minimum=1)
EXPORT_MAX_BYTES = env.integer("EXPORT_MAX_BYTES", default=GIBIBYTE, minimum=1024, maximum=2**40)
EXPORT_KEPT_HOURS = env.number("EXPORT_KEPT_HOURS", default=24, maximum=8760)
# Days for which deleted tables and fields can be restored, and changes can be looked up.
TABLE_TRASH_DAYS = env.number("TABLE_TRASH_DAYS", default=7, maximum=36_500)
TABLE_CHANGES_DAYS = env.number("TABLE_CHANGES_DAYS", default=90, maximum=36_500)
