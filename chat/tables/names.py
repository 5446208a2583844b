"""Names of what tables are in PostgreSQL. They are made of ids alone: no user's text is in SQL."""

from __future__ import annotations

from collections.abc import Iterable

from psycopg import sql

#: The PostgreSQL schema of all tables of users.
SCHEMA = "tables"


def rows_table(table_id: int) -> sql.Identifier:
    """The table of the rows: `id`, `pos`, `version`, `updated_at` and the fields' columns."""
    return sql.Identifier(SCHEMA, f"t{int(table_id)}")


def ids_sequence(table_id: int) -> str:
    """The sequence of the rows' ids, as a text that PostgreSQL reads as a regclass."""
    return f"{SCHEMA}.t{int(table_id)}_id_seq"


def answers_table(ai_field_id: int) -> sql.Identifier:
    """The table of the answers of an AI field, by `row_id`."""
    return sql.Identifier(SCHEMA, f"a{int(ai_field_id)}")


def links_table(field_id: int) -> sql.Identifier:
    """The table of the pairs of a link field: `row_id`, `other_id` and `pos`."""
    return sql.Identifier(SCHEMA, f"l{int(field_id)}")


def column(name: str) -> sql.Identifier:
    """A column, by the name that the catalogue has of it."""
    return sql.Identifier(name)


def statement(template: str, **parts: sql.Composable) -> str:
    """A statement with these parts in place of its braces.

    As text, which aily.database.rows takes. Placeholders of values stay as they are.
    """
    return sql.SQL(template).format(**parts).as_string()


def joined(parts: list[sql.Composable]) -> sql.Composed:
    """The parts, with commas between them."""
    return sql.SQL(", ").join(parts)


def for_each(template: str, columns: Iterable[sql.Identifier]) -> sql.Composable:
    """The template once for each column, which takes the place of its braces."""
    return sql.SQL("").join(sql.SQL(template).format(column) for column in columns)
