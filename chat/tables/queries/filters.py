"""Filter trees: groups of conditions, as they are stored in views and sent in queries.

{"and": [{"field": "f12", "op": "contains", "value": "bike"},
         {"or": [{"field": "f13", "op": "gte", "value": 5}, {"field": "f13", "op": "empty"}]}]}
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from psycopg import sql
from pydantic import JsonValue

from aily.problems import InvalidRequest
from chat.exceptions import because
from chat.reasons import Reason
from chat.tables.queries.conditions import compile_condition
from chat.tables.queries.operands import Operands
from chat.tables.queries.statement import TRUE, Statement, all_of, any_of

MAX_LEVELS = 3
MAX_CONDITIONS = 50

_GROUPS: dict[str, Callable[[Sequence[sql.Composable]], sql.Composable]] = {
    "and": all_of,
    "or": any_of,
}


def compile_filter(statement: Statement, tree: JsonValue, path: str = "filter") -> sql.Composable:
    """The tree as an SQL condition that is never NULL. Raises InvalidRequest naming the place."""
    if tree is None or tree == {}:
        return TRUE
    if (number := _count(tree, path, 0)) > MAX_CONDITIONS:
        raise because(
            InvalidRequest,
            Reason.of("too_many_conditions", limit=MAX_CONDITIONS, count=number),
            field=path,
        )
    return _compile(statement, tree, path)


def _count(node: JsonValue, path: str, level: int) -> int:
    """The number of conditions, an empty group for one. Raises InvalidRequest where groups are
    nested too deeply."""
    children = _children(node)
    if children is None:
        return 1
    if level >= MAX_LEVELS:
        raise because(InvalidRequest, Reason.of("nested_conditions", limit=MAX_LEVELS), field=path)
    name = next(iter(node)) if isinstance(node, dict) else ""
    below = sum(
        _count(child, f"{path}.{name}.{index}", level + 1) for index, child in enumerate(children)
    )
    return max(below, 1)


def _children(node: JsonValue) -> list[JsonValue] | None:
    """What a group holds; None for anything that is not a group."""
    if isinstance(node, dict) and len(node) == 1:
        name, children = next(iter(node.items()))
        if name in _GROUPS and isinstance(children, list):
            return children
    return None


def _compile(statement: Statement, node: JsonValue, path: str) -> sql.Composable:
    children = _children(node)
    if children is None:
        if not isinstance(node, dict) or "field" not in node:
            raise because(InvalidRequest, Reason("filter_shape"), field=path)
        return compile_condition(statement, node, path)
    name = next(iter(node)) if isinstance(node, dict) else ""
    return _GROUPS[name](
        [
            _compile(statement, child, f"{path}.{name}.{index}")
            for index, child in enumerate(children)
        ]
    )


def without_fields(tree: JsonValue, operands: Operands, missing: dict[str, None]) -> JsonValue:
    """The tree without conditions on fields that are not there, whose names go into `missing`."""
    children = _children(tree)
    if children is None:
        name = tree.get("field") if isinstance(tree, dict) else None
        if isinstance(name, str) and name not in operands:
            missing[name] = None
            return None
        return tree
    group = next(iter(tree)) if isinstance(tree, dict) else ""
    kept = [without_fields(child, operands, missing) for child in children]
    # A group of which nothing is left does not filter, as one that was empty from the start.
    return {group: [child for child in kept if child is not None]}
