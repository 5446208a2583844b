"""What validators of schemas raise."""

from __future__ import annotations

from pydantic_core import PydanticCustomError

from aily.rest.schema_rules import refused_value
from chat.reasons import Reason


def refused(reason: Reason) -> PydanticCustomError:
    """A wrong field with the sentence of a reason, which pages show in their language."""
    return refused_value(str(reason), reason.as_params())
