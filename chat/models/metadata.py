"""The metadata that callers give tasks: which part of it is kept with usage, and what matches."""

from __future__ import annotations

from collections.abc import Mapping

#: Bounds, in characters of JSON, of what the ledger keeps of a task's metadata.
MAX_LABEL_NAME_CHARS = 100
MAX_LABEL_CHARS = 300

Label = str | int | float | bool

#: SQL: the labels of a task, which are the texts, numbers and booleans at the top of its metadata.
#: The ledger is kept for ever, and most tasks have none.
LABELS = f"""
CASE WHEN metadata = '{{}}'::jsonb THEN metadata ELSE (
  SELECT coalesce(jsonb_object_agg(key, value), '{{}}'::jsonb) FROM jsonb_each(metadata)
   WHERE jsonb_typeof(value) IN ('string', 'number', 'boolean')
     AND char_length(key) <= {MAX_LABEL_NAME_CHARS}
     AND char_length(value::text) <= {MAX_LABEL_CHARS}) END
"""  # noqa: S608 - numbers


def has_labels(labels: Mapping[str, object], wanted: Mapping[str, Label]) -> bool:
    """True if all wanted labels have these values; `1` is not `true`, as in JSON."""
    return all(
        name in labels
        and labels[name] == value
        and isinstance(labels[name], bool) == isinstance(value, bool)
        for name, value in wanted.items()
    )
