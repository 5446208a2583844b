"""All names in Redis of tables: keys and pub/sub channels.

A log of changes and a snapshot are each one key, so a Redis Cluster may spread them.
"""

from __future__ import annotations


def changes_log(table_id: int) -> str:
    """stream  `<revision>-<n>` -> e: the change as JSON, c: rows changed since the log began"""
    return f"aily:table:{{{table_id}}}:changes"


def changes_channel(table_id: int) -> str:
    """Channel that says a table has changed; the news is in its log."""
    return f"aily:table:{{{table_id}}}"


def snapshot_ids(snapshot_id: str) -> str:
    """string  ids of the rows of a view in order, 8 bytes each"""
    return f"aily:snapshot:{{{snapshot_id}}}:ids"


def snapshot_about(snapshot_id: str) -> str:
    """string  JSON: table, revision and filter of a snapshot"""
    return f"aily:snapshot:{{{snapshot_id}}}:about"


def snapshots_of(user_id: int) -> str:
    """list  `<id>:<bytes>` of a user's snapshots, newest first"""
    return f"aily:snapshots:{user_id}"


def field_uses(day: str) -> str:
    """hash  `<table>:<field key>:<collation>` -> how often it was sorted by or filtered on a day"""
    return f"aily:tables:uses:{day}"
