"""A scene's version, compiled: what checks variables and makes messages of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chat.exceptions import InvalidTemplate, InvalidVariable
from chat.rendering import schema as schemas
from chat.rendering.limits import Limits
from chat.rendering.sandbox import MAX_LOOP_STEPS, too_large
from chat.rendering.schema import VariablesSchema
from chat.rendering.template import HeavyWorkError, Template
from chat.rendering.template_work import has_little_code
from chat.rendering.values import OutOfBoundsError, Size, measure
from chat.tool_calls import PromptMessage

if TYPE_CHECKING:
    from pydantic import JsonValue

Messages = list[PromptMessage]

#: What these names mean in an expression cannot be changed.
_CONSTANTS = frozenset(["true", "false", "none", "True", "False", "None"])


@dataclass(frozen=True, slots=True)
class PromptSource:
    """What an author writes. The system template may be empty."""

    system: str
    user: str
    schema: dict[str, JsonValue]

    def is_little_work(self) -> bool:
        """Whether compiling it is; else it is left to a process that can be stopped."""
        return (
            has_little_code(self.user)
            and has_little_code(self.system)
            and schemas.is_small(self.schema)
        )


def _ignore(field: str) -> None:
    """For callers that do not ask which field is being worked on."""


class Prompt:
    """The compiled templates and schema of a version; any number of threads may render it."""

    def __init__(self, source: PromptSource, on_field: Callable[[str], None] = _ignore) -> None:
        """Calls `on_field` with each field before it works on it. Raises InvalidTemplate."""
        schemas.check_size(source.schema)
        self._templates = {}
        if source.system.strip():
            on_field("system_template")
            self._templates["system"] = Template(source.system, "system_template")
        on_field("user_template")
        self._templates["user"] = Template(source.user, "user_template")
        names = {name for template in self._templates.values() for name in template.names}
        on_field(schemas.FIELD)
        self.variables = VariablesSchema(source.schema, names)

    def check_names(self) -> None:
        """Raises InvalidTemplate where a listed variable could not be seen by the templates."""
        listed = set(schemas.properties_of(self.variables.schema))
        hidden = listed & _CONSTANTS
        if any(template.uses_loop for template in self._templates.values()):
            hidden |= listed & {"loop"}
        if hidden:
            raise InvalidTemplate(
                f"{min(hidden)!r} means something else in these templates; give the variable "
                "another name.",
                field=schemas.FIELD,
            )

    def render(
        self, variables: Mapping[str, JsonValue], limits: Limits, max_steps: int = MAX_LOOP_STEPS
    ) -> Messages:
        """Raises InvalidVariable, InvalidTemplate, or TooLarge beyond `prompt_max_bytes` in all."""
        self.variables.validate(variables)
        max_bytes = limits.prompt_max_bytes
        contents = {
            role: template.render(variables, max_bytes, max_steps)
            for role, template in self._templates.items()
        }
        if sum(len(content.encode()) for content in contents.values()) > max_bytes:
            raise too_large(max_bytes)
        if not contents["user"].strip():
            message = "With these variables the prompt is empty."
            raise InvalidVariable(message, field="variables", params={"rule": "not_empty"})
        return [{"role": role, "content": content} for role, content in contents.items()]

    def render_if_little_work(
        self, variables: Mapping[str, JsonValue], size: Size, limits: Limits
    ) -> Messages:
        """`render`, or HeavyWorkError soon."""
        if not self.variables.is_little_work(variables, size):
            raise HeavyWorkError
        steps = min(
            -1 if template.work is None else template.work.allowed_steps(size.bytes)
            for template in self._templates.values()
        )
        if steps < 0:
            raise HeavyWorkError
        return self.render(variables, limits, steps)


def measure_variables(variables: object, limits: Limits) -> Size:
    """Raises InvalidVariable where they are more, or nested deeper, than allowed."""
    try:
        return measure(
            variables,
            limits.variables_max_bytes,
            limits.variables_max_values,
            limits.variables_max_depth,
        )
    except OutOfBoundsError as error:
        raise InvalidVariable(f"This has {error}.", field="variables") from None
