"""Jinja2 cut down to what a prompt needs: what is not listed here is missing.

Operations that could build a text much larger than a prompt may be are bounded. Time is not: a
rendering that may take long runs in a process that can be stopped (chat/rendering/pool.py).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from jinja2 import StrictUndefined, Undefined, pass_context
from jinja2.exceptions import SecurityError
from jinja2.runtime import Context, LoopContext
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

from aily.problems import TooLarge

#: Steps that all loops of one rendering may take together.
MAX_LOOP_STEPS = 10_000

#: Names in the context that no template can write (chat/rendering/template.py).
STEPS, MAX_BYTES = "__steps_left", "__max_bytes"
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


class LoopLimitError(SecurityError):
    """All loops together have taken MAX_LOOP_STEPS steps."""


def too_large(max_bytes: int) -> TooLarge:
    return TooLarge(f"The prompt is longer than {max_bytes} bytes.")


def joined(parts: Iterable[str], max_bytes: int, separator: str = "") -> str:
    """`separator.join(parts)`, given up once it is longer than a prompt may be."""
    kept, characters = [], 0
    for part in parts:
        kept.append(part)
        characters += len(part) + len(separator)
        if characters > max_bytes + len(separator):
            raise too_large(max_bytes)
    return separator.join(kept)


def _range(*args: int) -> range:
    numbers = range(*args)
    if len(numbers) > MAX_LOOP_STEPS:
        raise SecurityError(f"a range may not have more than {MAX_LOOP_STEPS} numbers")
    return numbers


@pass_context
def _counted(context: Context, iterable: Iterable[object]) -> Iterator[object]:
    """The items of a `for`, each counted. Every loop of a template is compiled to one over this."""
    steps_left: list[int] = context[STEPS]
    for item in iterable:
        steps_left[0] -= 1
        if steps_left[0] < 0:
            raise LoopLimitError(f"its loops go round more than {MAX_LOOP_STEPS} times")
        yield item


@pass_context
def _concat(context: Context, parts: Iterable[object]) -> str:
    """What `~` is compiled to."""
    return joined(map(str, parts), context[MAX_BYTES])


@pass_context
def _join(
    context: Context, values: Iterable[Any], separator: str = "", attribute: str | None = None
) -> str:
    if attribute is not None:
        values = [value[attribute] for value in values]
    return joined(map(str, values), context[MAX_BYTES], str(separator))


@pass_context
def _replace(context: Context, text: object, old: str, new: str) -> str:
    return joined(str(text).split(old), context[MAX_BYTES], new)


@pass_context
def _tojson(context: Context, value: object, indent: int | None = None) -> str:
    """JSON as a model should read it. Jinja's own escapes it for HTML."""
    if indent is not None and not 0 <= indent <= 8:
        raise SecurityError("indent must be 0 to 8")
    encoder = json.JSONEncoder(ensure_ascii=False, indent=indent)
    return joined(encoder.iterencode(value), context[MAX_BYTES])


def _printable(value: object) -> object:
    """The value. Raises SecurityError for one that would print as an address in memory."""
    if isinstance(value, LoopContext | Namespace):
        raise SecurityError(f"a {type(value).__name__} is no text")
    if callable(value) and not isinstance(value, Undefined):
        raise SecurityError(f"{getattr(value, '__name__', 'this')} is a function, which is no text")
    return value


class PromptEnvironment(ImmutableSandboxedEnvironment):
    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        numbers = isinstance(left, (int, float)) and isinstance(right, (int, float))
        if operator == "**" or not (numbers or operator == "+"):
            raise SecurityError(f"{operator} is not available for these values")
        if numbers and max(abs(left), abs(right)) > 2**63:
            raise SecurityError("a number is too large")
        if not numbers and len(left) + len(right) > context[MAX_BYTES]:
            raise too_large(context[MAX_BYTES])
        return super().call_binop(context, operator, left, right)

    def is_safe_attribute(self, obj: object, attr: str, value: object) -> bool:
        listed = not callable(value) or attr in _METHODS or isinstance(obj, LoopContext)
        return listed and super().is_safe_attribute(obj, attr, value)

    def wrap_str_format(self, value: object) -> None:
        """No `str.format`: a width in its pattern makes a text of any length."""


#: The names that templates call, and the names of the functions in the environment. So a variable
#: may have any of these names.
FUNCTIONS = {"range": "__range", "namespace": "__namespace"}
COUNTED, CONCAT = "__counted", "__concat"


def _make_environment() -> PromptEnvironment:
    environment = PromptEnvironment(
        # It works out constants while compiling, and looks for them in a time that is cubic.
        optimized=False,
        undefined=StrictUndefined,
        autoescape=False,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_printable,
    )
    environment.globals = {
        FUNCTIONS["range"]: _range,
        FUNCTIONS["namespace"]: environment.globals["namespace"],
    }
    kept = {name: environment.filters[name] for name in _FILTERS}
    own = {"join": _join, "replace": _replace, "tojson": _tojson}
    environment.filters = {**kept, **own, COUNTED: _counted, CONCAT: _concat}
    return environment


ENVIRONMENT = _make_environment()
