"""Good answers as examples: a variable of an AI field's scene that is given cells which people have
accepted or given a thumb up.

They are chosen when a run is made, and are the same for all of its rows. They are no part of the
configuration: another thumb makes no answer stale.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import msgspec
from pydantic import JsonValue

from aily.database.rows import fetch_column
from chat.models import SceneVersion
from chat.runs.reading.coercion import types_of
from chat.services.drafts import find_version
from chat.tables.ai import answers, preparing
from chat.tables.ai.config import WHOLE, examples_wanted
from chat.tables.ai.outputs import Output, present_outputs
from chat.tables.ai.sources import Source
from chat.tables.names import answers_table, rows_table, statement
from chat.tables.texts import text_writer

#: Of the examples of a run, which keeps them with its mapping; further ones are left out.
MAX_BYTES = 65_536

_GOOD = """
SELECT a.row_id FROM {answers} a JOIN {rows} t ON t.id = a.row_id
 WHERE (a.thumb = 1 OR a.verdict = 1) AND a.state IN ('done', 'edited')
 ORDER BY a.reviewed_at DESC NULLS LAST, a.row_id LIMIT %s
"""

Object = dict[str, JsonValue]


def resolved_mapping(source: Source) -> Object:
    """The mapping with the examples of now as constants. Three queries if any are wanted: lists for
    variables that are lists, else a text with a line of JSON for each."""
    mapping: Object = dict(source.ai_field.mapping)
    numbers = examples_wanted(mapping)
    if not numbers:
        return mapping
    examples = _examples(source, max(numbers.values()))
    version = find_version(source.ai_field.scene, source.ai_field.scene_version)
    for name, number in numbers.items():
        mapping[name] = {"value": _as_variable(examples[:number], version, name)}
    return mapping


def _as_variable(examples: list[Object], version: SceneVersion | None, variable: str) -> JsonValue:
    properties = (version.variables_schema or {}).get("properties") if version else None
    schema = properties.get(variable) if isinstance(properties, dict) else None
    if "array" in types_of(schema):
        return cast("JsonValue", examples)
    return "\n".join(msgspec.json.encode(example).decode() for example in examples)


def _examples(source: Source, number: int) -> list[Object]:
    """Good cells with what they were asked, the latest judged first."""
    row = source.ai_field
    find = statement(_GOOD, answers=answers_table(row.pk), rows=rows_table(row.table_id))
    row_ids = fetch_column(int, find, [number])
    inputs = {int(found.key): found.payload for found in preparing.sample_of(source, row_ids)}
    given = answers.read(row.table_id, source.outputs, row_ids)
    outputs = present_outputs(row, source.outputs)
    found: list[Object] = []
    left = MAX_BYTES
    for row_id in row_ids:
        if row_id not in inputs or row.pk not in given[row_id]:
            continue  # deleted in this moment
        example = _example(source, outputs, inputs[row_id], given[row_id][row.pk])
        left -= len(msgspec.json.encode(example))
        if left < 0:
            break
        found.append(example)
    return found


def _example(
    source: Source, outputs: list[Output], inputs: Mapping[str, JsonValue], answer: answers.Answer
) -> Object:
    named: Object = {
        variable: inputs.get(key)
        for variable, key in source.ai_field.mapping.items()
        if isinstance(key, str)
    }
    texts: Object = {
        output.name: text_writer(output.field)(answer.values.get(output.field.key))
        for output in outputs
    }
    return {"inputs": named, "answer": texts.get(WHOLE, cast("JsonValue", texts))}
