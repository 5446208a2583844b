"""The most work that a template can be, worked out from its source: little enough to be done at
once, or unknown."""

from __future__ import annotations

import re
from dataclasses import dataclass

from jinja2 import TemplateSyntaxError, nodes
from jinja2.visitor import NodeVisitor

from chat.rendering.sandbox import CONCAT, COUNTED, ENVIRONMENT, MAX_LOOP_STEPS
from chat.rendering.work import MAX_CODE, MAX_NESTING, MAX_WORK, OPERATION

_CODE = re.compile(r"\{[{%#](.*?)(?:[}%#]\}|\Z)", re.DOTALL)
#: A longer constant makes `strip` and the like quadratic.
_MAX_CONSTANT = 32

_NODES = (
    nodes.Template, nodes.Output, nodes.TemplateData, nodes.Name, nodes.Const, nodes.If, nodes.For,
    nodes.Getattr, nodes.Getitem, nodes.Slice, nodes.Filter, nodes.Test, nodes.Compare, nodes.And,
    nodes.Operand, nodes.Not, nodes.Or, nodes.CondExpr, nodes.Assign, nodes.Call, nodes.List,
    nodes.Tuple, nodes.Add, nodes.Sub, nodes.Mul, nodes.Div, nodes.FloorDiv, nodes.Mod, nodes.Neg,
    nodes.Pos,
)  # fmt: skip
#: Linear in what they are given, with nothing that grows but as said below.
_FILTERS = frozenset([
    "abs", "capitalize", "count", "d", "default", "first", "float", "int", "items", "last",
    "length", "list", "lower", "reverse", "string", "trim", "upper",
])  # fmt: skip
_CONSTANT_TIME = frozenset(["abs", "count", "d", "default", "first", "last", "length"])
#: Their results may be far longer than what they are given, so nothing may be done with these.
_GROWING = frozenset(["join", "replace", "tojson", CONCAT])
#: They handle each character or part by itself, which costs more by this factor.
_PER_CHARACTER = frozenset(["join", "replace"])
_PER_CHARACTER_FACTOR = 10
_METHODS = frozenset([
    "capitalize", "casefold", "endswith", "get", "isalnum", "isalpha", "isdigit", "isspace",
    "items", "keys", "lower", "lstrip", "removeprefix", "removesuffix", "rstrip", "split",
    "splitlines", "startswith", "strip", "upper", "values",
])  # fmt: skip


def has_little_code(source: str) -> bool:
    """Whether compiling it is little work, whatever it says."""
    length = 0
    for match in _CODE.finditer(source):
        length += match.end() - match.start()
        if length > MAX_CODE:
            return False
    try:
        tree = ENVIRONMENT.parse(source)
    except (TemplateSyntaxError, RecursionError, ValueError):
        # It will not be compiled.
        return True
    return _nesting(tree) <= MAX_NESTING


def _nesting(tree: nodes.Template) -> int:
    """Sum the squared depths of all expressions: jinja2's time grows with the cube of a depth."""
    total = 0
    level: list[tuple[nodes.Node, int]] = [(tree, 0)]
    while level:
        node, depth = level.pop()
        total += depth * depth
        level += [
            (child, depth + 1 if isinstance(child, nodes.Expr) else 0)
            for child in node.iter_child_nodes()
        ]
    return total


@dataclass(slots=True)
class _Operations:
    """Numbers of operations. `whole`: those of them that may read all of the variables."""

    all: int = 0
    whole: int = 0

    def work(self, variable_bytes: int) -> int:
        return self.all * OPERATION + self.whole * (variable_bytes + MAX_CODE)


@dataclass(frozen=True, slots=True)
class TemplateWork:
    """What is done once, and what is done in each step of any loop, at most."""

    once: _Operations
    each_step: _Operations

    def allowed_steps(self, variable_bytes: int) -> int:
        """How often its loops may go round within MAX_WORK; below 0: not to be begun."""
        left = MAX_WORK - self.once.work(variable_bytes)
        if left < 0:
            return -1
        return min(left // max(self.each_step.work(variable_bytes), 1), MAX_LOOP_STEPS)


def work_of(tree: nodes.Template) -> TemplateWork | None:
    weigher = _Weigher()
    try:
        weigher.visit(tree)
    except _UnknownWorkError:
        return None
    return TemplateWork(weigher.once, weigher.each_step)


class _UnknownWorkError(Exception):
    """Something whose work is not linear, or makes values that others may take long over."""


class _Weigher(NodeVisitor):
    def __init__(self) -> None:
        self.once, self.each_step = _Operations(), _Operations()
        self._loops = 0

    def visit(self, node: nodes.Node, *args: object, **kwargs: object) -> object:
        if not isinstance(node, _NODES):
            raise _UnknownWorkError
        self._count().all += 1
        return super().visit(node, *args, **kwargs)

    def _count(self) -> _Operations:
        return self.each_step if self._loops else self.once

    def visit_Name(self, node: nodes.Name) -> None:  # noqa: N802 - jinja2 looks it up
        if node.name.startswith("__") and node.name != "__self":
            raise _UnknownWorkError

    def visit_Output(self, node: nodes.Output) -> None:  # noqa: N802
        for child in node.nodes:
            if isinstance(child, nodes.Filter) and child.name in _GROWING:
                self._count().whole += _PER_CHARACTER_FACTOR if child.name in _PER_CHARACTER else 1
                parts = child.node.items if isinstance(child.node, nodes.List) else [child.node]
                for part in (*parts, *child.args, *child.kwargs):
                    self.visit(part.value if isinstance(part, nodes.Keyword) else part)
            else:
                self.visit(child)

    def visit_For(self, node: nodes.For) -> None:  # noqa: N802
        self.visit(node.iter)
        for statement in node.else_:
            self.visit(statement)
        self._loops += 1
        for part in (node.target, *node.body, *([node.test] if node.test else [])):
            self.visit(part)
        self._loops -= 1

    def visit_Assign(self, node: nodes.Assign) -> None:  # noqa: N802
        if not isinstance(node.target, nodes.Name):
            raise _UnknownWorkError
        self.generic_visit(node)

    def visit_Filter(self, node: nodes.Filter) -> None:  # noqa: N802
        if (node.name != COUNTED and node.name not in _FILTERS) or node.node is None:
            raise _UnknownWorkError
        if node.name not in _CONSTANT_TIME:
            self._count().whole += 1
        self.visit(node.node)
        if node.name in ("d", "default"):
            for argument in node.args:
                self.visit(argument)
        else:
            self._require_short_constants(node)

    def visit_Call(self, node: nodes.Call) -> None:  # noqa: N802
        if not isinstance(node.node, nodes.Getattr) or node.node.attr not in _METHODS:
            raise _UnknownWorkError
        self._count().whole += 1
        self.visit(node.node.node)
        self._require_short_constants(node)

    def _require_short_constants(self, node: nodes.Filter | nodes.Call) -> None:
        values = [*node.args, *(keyword.value for keyword in node.kwargs)]
        are_short = all(
            isinstance(value, nodes.Const) and len(str(value.value)) <= _MAX_CONSTANT
            for value in values
        )
        if not are_short or node.dyn_args or node.dyn_kwargs:
            raise _UnknownWorkError

    def visit_Slice(self, node: nodes.Slice) -> None:  # noqa: N802
        self._count().whole += 1
        self.generic_visit(node)

    def visit_Compare(self, node: nodes.Compare) -> None:  # noqa: N802
        sides = [node.expr, *(operand.expr for operand in node.ops)]
        is_membership = any(operand.op in ("in", "notin") for operand in node.ops)
        if is_membership or not any(isinstance(side, nodes.Const) for side in sides):
            self._count().whole += len(node.ops)
        self.generic_visit(node)

    def visit_Test(self, node: nodes.Test) -> None:  # noqa: N802
        self._count().whole += 1 if node.args else 0
        self.generic_visit(node)

    def visit_Add(self, node: nodes.Add) -> None:  # noqa: N802
        """Allow sums with a literal number only: texts and lists would grow."""
        sides = (node.left, node.right)
        if not any(
            isinstance(side, nodes.Const) and not isinstance(side.value, str) for side in sides
        ):
            raise _UnknownWorkError
        self.generic_visit(node)

    def visit_List(self, node: nodes.List) -> None:  # noqa: N802
        if not all(isinstance(item, nodes.Const) for item in node.items):
            raise _UnknownWorkError

    def visit_Tuple(self, node: nodes.Tuple) -> None:  # noqa: N802
        if node.ctx != "store" and not all(isinstance(item, nodes.Const) for item in node.items):
            raise _UnknownWorkError
