"""One prompt template, compiled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from jinja2 import TemplateError, TemplateSyntaxError, nodes
from jinja2.exceptions import UndefinedError
from jinja2.meta import find_undeclared_variables
from jinja2.visitor import NodeTransformer

from aily.problems import Problem
from chat.exceptions import InvalidTemplate, InvalidVariable
from chat.llm.types import storable
from chat.reasons import Reason
from chat.rendering.sandbox import (
    CONCAT,
    COUNTED,
    ENVIRONMENT,
    FUNCTIONS,
    MAX_BYTES,
    MAX_LOOP_STEPS,
    STEPS,
    LoopLimitError,
    joined,
)
from chat.rendering.template_errors import (
    RestrictedSyntaxError,
    reason_of_syntax_error,
    reason_of_undefined,
)
from chat.rendering.template_work import TemplateWork, work_of

if TYPE_CHECKING:
    from pydantic import JsonValue

TEMPLATE_MAX_BYTES = 65_536
_MAX_MESSAGE = 300
_STATEMENTS = (nodes.Output, nodes.For, nodes.If, nodes.Assign, nodes.With)
#: Replaces the variable name `self`: in Jinja2 that name always means the template.
_SELF = "__self"
_LOOP = "loop"


class HeavyWorkError(Exception):
    """This is more work than was allowed here: it belongs in a process that can be stopped."""


class _Restrict(NodeTransformer):
    """Rewrites a template's tree: loops and joins are counted, and a name in an expression is a
    variable, even if Jinja2 has something of that name.

    Raises RestrictedSyntaxError for statements that could recurse or collect without end.
    """

    def __init__(self) -> None:
        self._loops = 0
        #: Of the node that is visited: some nodes do not know it.
        self._line = 1
        self.uses_loop = False

    def visit(self, node: nodes.Node, *args: object, **kwargs: object) -> Any:
        self._line = node.lineno or self._line
        if isinstance(node, nodes.Stmt) and not isinstance(node, _STATEMENTS):
            raise RestrictedSyntaxError("unavailable_tag", self._line, type(node).__name__)
        return super().visit(node, *args, **kwargs)

    def visit_Name(self, node: nodes.Name) -> nodes.Name:  # noqa: N802 - jinja2 looks it up
        if node.name.startswith("__"):
            raise RestrictedSyntaxError("reserved_name", node.lineno, node.name)
        if node.name == _LOOP and self._loops:
            raise RestrictedSyntaxError("loop_name", node.lineno)
        if node.name == "self":
            node.name = _SELF
        return node

    def visit_Call(self, node: nodes.Call) -> nodes.Call:  # noqa: N802
        called = node.node
        if isinstance(called, nodes.Name) and called.name in FUNCTIONS:
            called.name = FUNCTIONS[called.name]
        elif isinstance(called, nodes.Getattr):
            # Before anything else: a method is meant, not an item of that name.
            self._visit_object(called)
        else:
            node.node = self.visit(called)
        for field in ("args", "kwargs"):
            setattr(node, field, [self.visit(argument) for argument in getattr(node, field)])
        for field in ("dyn_args", "dyn_kwargs"):
            if getattr(node, field) is not None:
                setattr(node, field, self.visit(getattr(node, field)))
        return node

    def visit_Getattr(self, node: nodes.Getattr) -> nodes.Getitem:  # noqa: N802
        """`order.items` is what the variable has under this name, not a method of mappings."""
        self._visit_object(node)
        name = nodes.Const(node.attr, lineno=node.lineno)
        return nodes.Getitem(node.node, name, node.ctx, lineno=node.lineno)

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Getitem:  # noqa: N802
        self._visit_object(node)
        node.arg = self.visit(node.arg)
        return node

    def _visit_object(self, node: nodes.Getattr | nodes.Getitem) -> None:
        if self._loops and isinstance(node.node, nodes.Name) and node.node.name == _LOOP:
            self.uses_loop = True
        else:
            node.node = self.visit(node.node)

    def visit_For(self, node: nodes.For) -> nodes.For:  # noqa: N802
        if node.recursive:
            raise RestrictedSyntaxError("recursive_loop", node.lineno)
        node.iter = _filtered(COUNTED, self.visit(node.iter))
        node.else_ = [self.visit(statement) for statement in node.else_]
        self._loops += 1
        node.target = self.visit(node.target)
        node.body = [self.visit(statement) for statement in node.body]
        node.test = node.test and self.visit(node.test)
        self._loops -= 1
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Filter:  # noqa: N802
        self.generic_visit(node)
        return _filtered(CONCAT, nodes.List(node.nodes, lineno=node.lineno))


def _filtered(name: str, expression: nodes.Node) -> nodes.Filter:
    return nodes.Filter(expression, name, [], [], None, None, lineno=expression.lineno)


def _constant(tree: nodes.Template) -> str | None:
    """The whole text of a template that has nothing else, as system messages often are."""
    parts = [
        part
        for statement in tree.body
        for part in (statement.nodes if isinstance(statement, nodes.Output) else [statement])
    ]
    texts = [part.data for part in parts if isinstance(part, nodes.TemplateData)]
    return storable("".join(texts)) if len(texts) == len(parts) else None


class Template:
    """A compiled template; any number of threads may render it at once.

    `names`: the variables it uses. `uses_loop`: it uses the state of a loop, which looks like a
    variable. `work`: None if it cannot be known beforehand.
    """

    def __init__(self, source: str, field: str) -> None:
        """Compile. Raises InvalidTemplate, naming `field`."""
        self._field = field
        if len(source.encode(errors="surrogatepass")) > TEMPLATE_MAX_BYTES:
            reason = Reason.of("template_too_long", limit=TEMPLATE_MAX_BYTES)
            raise InvalidTemplate.because(reason, field=field)
        try:
            self._compile(source)
        except TemplateSyntaxError as error:
            raise InvalidTemplate.because(reason_of_syntax_error(error), field=field) from None
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001 - compiling works out constant expressions
            reason = Reason.of("template_broken", detail=f"{type(error).__name__}: {error}")
            raise InvalidTemplate.because(reason, field=field) from None

    def _compile(self, source: str) -> None:
        tree = ENVIRONMENT.parse(source)
        self._constant = _constant(tree)
        restrict = _Restrict()
        restrict.visit(tree)
        self.uses_loop = restrict.uses_loop
        used = find_undeclared_variables(tree) - ENVIRONMENT.globals.keys()
        self.names = {_as_written(name) for name in used}
        self.work: TemplateWork | None = work_of(tree)
        self._template = ENVIRONMENT.from_string(tree)

    def render(
        self, variables: Mapping[str, JsonValue], max_bytes: int, max_steps: int = MAX_LOOP_STEPS
    ) -> str:
        """The text. Raises InvalidVariable, InvalidTemplate or TooLarge.

        Raises HeavyWorkError where its loops go round more than `max_steps` times, which is fewer
        than they may.
        """
        if self._constant is not None:
            return self._constant
        # Functions again: a caller's variables come before an environment's globals.
        own = {**ENVIRONMENT.globals, STEPS: [max_steps], MAX_BYTES: max_bytes}
        context = {**variables, **own}
        if "self" in variables:
            context[_SELF] = variables["self"]
        try:
            return storable(joined(self._template.generate(context), max_bytes))
        except (Problem, MemoryError):
            raise
        except UndefinedError as error:
            message = (error.message or "").replace(f"'{_SELF}'", "'self'")[:_MAX_MESSAGE]
            field = self._field_of(message)
            if field == "variables":
                raise InvalidVariable.because(reason_of_undefined(message), field=field) from None
            raise InvalidVariable(message, field=field, params={"rule": "required"}) from None
        except LoopLimitError:
            if max_steps < MAX_LOOP_STEPS:
                raise HeavyWorkError from None
            reason = Reason.of("too_many_loop_steps", limit=MAX_LOOP_STEPS)
            raise InvalidTemplate.because(reason, field=self._field) from None
        except TemplateError as error:
            reason = Reason.of("template_unusable", detail=error)
            raise InvalidTemplate.because(reason, field=self._field) from None
        except Exception as error:  # noqa: BLE001 - expressions raise what they like
            reason = Reason.of("variables_unusable", detail=error)
            raise InvalidVariable.because(reason, field="variables") from None

    def _field_of(self, message: str) -> str:
        for name in self.names:
            if message == f"{name!r} is undefined":
                return f"variables.{name}"
        return "variables"


def _as_written(name: str) -> str:
    return "self" if name == _SELF else name
