"""Limits of tool loops: those of a scene's version, within the settings of the installation."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from django.conf import settings

from chat.exceptions import InvalidTemplate
from chat.models import SceneVersion
from chat.models.scenes import (
    MAX_TOOL_COST,
    MAX_TOOL_RESULT_BYTES,
    MAX_TOOL_SECONDS,
    MAX_TOOL_STEPS,
    MIN_TOOL_COST,
    MIN_TOOL_RESULT_BYTES,
    MIN_TOOL_SECONDS,
)
from chat.models.tool_calls import ToolOptions
from chat.reasons import Reason


@dataclass(frozen=True, slots=True)
class _Limit:
    """A limit of versions, and the setting that is its upper bound."""

    field: str
    setting: str
    minimum: float
    maximum: float

    @property
    def upper_bound(self) -> float:
        """What a version may say at the most. A setting of 0 bounds nothing."""
        return min(getattr(settings, self.setting) or math.inf, self.maximum)


_LIMITS = (
    _Limit("max_tool_steps", "TOOL_MAX_STEPS", 1, MAX_TOOL_STEPS),
    _Limit("max_tool_seconds", "TOOL_LOOP_SECONDS", MIN_TOOL_SECONDS, MAX_TOOL_SECONDS),
    _Limit(
        "max_tool_result_bytes",
        "TOOL_RESULT_MAX_BYTES",
        MIN_TOOL_RESULT_BYTES,
        MAX_TOOL_RESULT_BYTES,
    ),
    _Limit("max_tool_cost", "TOOL_LOOP_MAX_COST", float(MIN_TOOL_COST), MAX_TOOL_COST),
)


def check_limits(version: SceneVersion) -> None:
    """Raises InvalidTemplate for a limit that is out of its bounds."""
    for limit in _LIMITS:
        value = getattr(version, limit.field)
        if value is None:
            continue
        if value < limit.minimum:
            reason = Reason.of("below_minimum", minimum=f"{limit.minimum:g}")
            raise InvalidTemplate.because(reason, field=limit.field)
        if value > (upper_bound := limit.upper_bound):
            reason = Reason.of("above_setting", maximum=f"{upper_bound:g}", setting=limit.setting)
            raise InvalidTemplate.because(reason, field=limit.field)


def tool_options(
    version: SceneVersion,
    names: Sequence[str],
    *,
    asks: Collection[str] = (),
    max_calls: int | None = None,
) -> dict[str, Any]:
    """`Task.tools` of a task that may call the tools of these names. `asks` are those of them
    whose calls wait for the user whatever their policy says."""
    options = ToolOptions(
        names=list(names),
        max_steps=_lower(version.max_tool_steps, settings.TOOL_MAX_STEPS),
        max_seconds=_lower(version.max_tool_seconds, settings.TOOL_LOOP_SECONDS),
        max_cost=_lower(version.max_tool_cost, settings.TOOL_LOOP_MAX_COST or None),
        max_result_bytes=_lower(version.max_tool_result_bytes, settings.TOOL_RESULT_MAX_BYTES),
        asks=[name for name in names if name in asks],
        max_calls=max_calls,
    )
    return msgspec.structs.asdict(options)


def _lower(own: Any, setting: Any) -> Any:
    """The lower of two limits, as JSON has it; None: no limit."""
    given = [value for value in (own, setting) if value is not None]
    lowest = min(given, default=None)
    return lowest if lowest is None or isinstance(lowest, int) else float(lowest)
