"""Prompt templates: Jinja2 cut down to what a prompt needs and what cannot run away.

A template is written by staff, but its variables come from anyone, and rendering happens in the
web process. So there is no way to loop for long, to call what is not listed here, or to build a
text much larger than a prompt may be: each operation that could is counted or missing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from django.conf import settings
from jinja2 import StrictUndefined, TemplateError, TemplateSyntaxError, nodes, pass_context
from jinja2.exceptions import SecurityError, UndefinedError
from jinja2.meta import find_undeclared_variables
from jinja2.runtime import Context, LoopContext
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

from aily.problems import Problem, TooLarge
from chat.exceptions import InvalidTemplate, InvalidVariable
from chat.llm.types import storable

TEMPLATE_MAX_BYTES = 65_536
#: How often all loops of one rendering together may go round.
MAX_LOOP_STEPS = 10_000

_STEPS = "__steps_left"
_STATEMENTS = (nodes.Output, nodes.For, nodes.If, nodes.Assign, nodes.With)
# fmt: off
_METHODS = frozenset([
    "capitalize", "casefold", "count", "endswith", "find", "get", "index", "isalnum", "isalpha",
    "isdigit", "isspace", "items", "keys", "lower", "lstrip", "partition", "removeprefix",
    "removesuffix", "rsplit", "rstrip", "split", "splitlines", "startswith", "strip", "title",
    "upper", "values",
])
_FILTERS = frozenset([
    "abs", "capitalize", "count", "d", "default", "dictsort", "first", "float", "groupby", "int",
    "items", "last", "length", "list", "lower", "map", "max", "min", "reject", "rejectattr",
    "reverse", "select", "selectattr", "sort", "string", "striptags", "title", "trim", "truncate",
    "unique", "upper", "wordcount",
])
# fmt: on


def _joined(parts: Iterable[str], separator: str = "") -> str:
    """`separator.join(parts)`, given up once it is longer than a prompt may be."""
    kept, characters = [], 0
    for part in parts:
        kept.append(part)
        characters += len(part) + len(separator)
        if characters > settings.PROMPT_MAX_BYTES + len(separator):
            raise too_large()
    return separator.join(kept)


def too_large() -> TooLarge:
    return TooLarge(f"The prompt is longer than {settings.PROMPT_MAX_BYTES} bytes.")


# --- What templates may use ---------------------------------------------------------------------
def _range(*args: int) -> range:
    numbers = range(*args)
    if len(numbers) > MAX_LOOP_STEPS:
        raise SecurityError(f"a range may not have more than {MAX_LOOP_STEPS} numbers")
    return numbers


@pass_context
def _counted(context: Context, iterable: Iterable[Any]) -> Iterator[Any]:
    """What every `for` really loops over."""
    steps_left: list[int] = context[_STEPS]
    for item in iterable:
        steps_left[0] -= 1
        if steps_left[0] < 0:
            raise SecurityError(f"its loops go round more than {MAX_LOOP_STEPS} times")
        yield item


def _concat(parts: Iterable[Any]) -> str:
    """What `~` really is."""
    return _joined(map(str, parts))


def _join(values: Iterable[Any], separator: str = "", attribute: str | None = None) -> str:
    if attribute is not None:
        values = [value[attribute] for value in values]
    return _joined(map(str, values), str(separator))


def _replace(text: object, old: str, new: str) -> str:
    return _joined(str(text).split(old), new)


def _tojson(value: Any, indent: int | None = None) -> str:
    """JSON as a model should read it. Jinja's own escapes it for HTML."""
    if indent is not None and not 0 <= indent <= 8:
        raise SecurityError("indent must be 0 to 8")
    return _joined(json.JSONEncoder(ensure_ascii=False, indent=indent).iterencode(value))


class _PromptEnvironment(ImmutableSandboxedEnvironment):
    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        numbers = isinstance(left, (int, float)) and isinstance(right, (int, float))
        if operator == "**" or not (numbers or operator == "+"):
            raise SecurityError(f"{operator} is not available for these values")
        if numbers and max(abs(left), abs(right)) > 2**63:
            raise SecurityError("a number is too large")
        if not numbers and len(left) + len(right) > settings.PROMPT_MAX_BYTES:
            raise too_large()
        return super().call_binop(context, operator, left, right)

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        listed = not callable(value) or attr in _METHODS or isinstance(obj, LoopContext)
        return listed and super().is_safe_attribute(obj, attr, value)

    def wrap_str_format(self, value: Any) -> None:
        """No `str.format`: a width in its pattern makes a text of any length."""


def _make_environment() -> _PromptEnvironment:
    environment = _PromptEnvironment(
        undefined=StrictUndefined, autoescape=False, trim_blocks=True, lstrip_blocks=True
    )
    environment.globals = {"range": _range, "namespace": environment.globals["namespace"]}
    kept = {name: environment.filters[name] for name in _FILTERS}
    own = {"join": _join, "replace": _replace, "tojson": _tojson}
    environment.filters = {**kept, **own, "__counted": _counted, "__concat": _concat}
    return environment


class _Restrict(NodeTransformer):
    """Refuses statements that could recurse or collect without end; counts loops and joins."""

    def visit(self, node: nodes.Node, *args: Any, **kwargs: Any) -> Any:
        if isinstance(node, nodes.Stmt) and not isinstance(node, _STATEMENTS):
            raise TemplateSyntaxError(
                f"{type(node).__name__} is not available in prompts", node.lineno
            )
        return super().visit(node, *args, **kwargs)

    def visit_For(self, node: nodes.For) -> nodes.For:  # noqa: N802 - jinja2 looks it up
        if node.recursive:
            raise TemplateSyntaxError("a loop may not be recursive", node.lineno)
        self.generic_visit(node)
        node.iter = _filtered("__counted", node.iter)
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Filter:  # noqa: N802
        self.generic_visit(node)
        return _filtered("__concat", nodes.List(node.nodes, lineno=node.lineno))


def _filtered(name: str, expression: nodes.Node) -> nodes.Filter:
    return nodes.Filter(expression, name, [], [], None, None, lineno=expression.lineno)


_environment = _make_environment()


def _constant(tree: nodes.Template) -> str | None:
    """The whole text of a template that has nothing else, as system messages often are."""
    parts = [
        part
        for one in tree.body
        for part in (one.nodes if isinstance(one, nodes.Output) else [one])
    ]
    texts = [part.data for part in parts if isinstance(part, nodes.TemplateData)]
    return storable("".join(texts)) if len(texts) == len(parts) else None


# --- The template -------------------------------------------------------------------------------
class PromptTemplate:
    """A compiled template; any number of threads may render it at once.

    `names`: the variables it uses.
    """

    def __init__(self, source: str, field: str) -> None:
        """Compile. Raises InvalidTemplate, naming `field`."""
        if len(source.encode()) > TEMPLATE_MAX_BYTES:
            message = f"A template may have {TEMPLATE_MAX_BYTES} bytes at most."
            raise InvalidTemplate(message, field=field)
        try:
            tree = _environment.parse(source)
            self.names = find_undeclared_variables(tree) - _environment.globals.keys()
            self._constant = _constant(tree)
            _Restrict().visit(tree)
            self._template = _environment.from_string(tree)
        except TemplateSyntaxError as error:
            raise InvalidTemplate(f"Line {error.lineno}: {error.message}", field=field) from None
        except Exception as error:  # noqa: BLE001 - compiling works out constant expressions
            raise InvalidTemplate(f"{type(error).__name__}: {error}", field=field) from None

    def render(self, variables: Mapping[str, Any]) -> str:
        """The text. Raises InvalidVariable, InvalidTemplate or TooLarge."""
        if self._constant is not None:
            return self._constant
        try:
            return storable(
                _joined(self._template.generate({**variables, _STEPS: [MAX_LOOP_STEPS]}))
            )
        except Problem:
            raise
        except UndefinedError as error:
            raise InvalidVariable(str(error), field=self._field_of(error)) from None
        except TemplateError as error:
            raise InvalidTemplate(f"This template cannot be rendered: {error}") from None
        except Exception as error:  # noqa: BLE001 - expressions raise what they like
            message = f"The template cannot be rendered with these variables: {error}"
            raise InvalidVariable(message[:300], field="variables") from None

    def _field_of(self, error: UndefinedError) -> str:
        for name in self.names:
            if error.message == f"{name!r} is undefined":
                return f"variables.{name}"
        return "variables"
