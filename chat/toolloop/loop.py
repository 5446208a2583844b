"""One attempt's view of a tool loop: what its model is offered, and what becomes of its calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
from django.conf import settings
from django.utils import timezone

from chat.accounting.prices import charge, load_models, price_at
from chat.accounting.tokens import Tokens
from chat.llm.types import Completion, ToolCall
from chat.models.ids import uuid7
from chat.models.tool_calls import CALL_ID_CHARS, NAME_CHARS, CallState, ToolOptions
from chat.models.tools import Tool, ToolPolicy
from chat.models.transitions import StartedTask
from chat.models.transitions.tool_steps import NewCall, NewStep
from chat.toolloop.turns import Turns, load_turns
from chat.tools.offers import definitions, offered_tools

#: The code of a task that failed at a limit of its loop.
TOOL_LIMIT = "tool_limit"
_decode_options = msgspec.json.Decoder(ToolOptions).decode
#: Choices of a tool that a further step may keep: others would force the same call for ever.
_KEPT_CHOICES = ("none", "auto")


@dataclass(slots=True)
class ToolLoop:
    """The tools of aily's that one attempt offers to its model, and the steps before it.

    A function of the caller's own with the same name takes a tool's place.
    """

    options: ToolOptions
    tools: Mapping[str, Tool]
    turns: Turns
    #: Names of the functions that the request itself has brought.
    own_names: frozenset[str] = field(default=frozenset())

    @property
    def steps(self) -> int:
        return len(self.turns.steps)

    # --- Asking the model -----------------------------------------------------------------------
    def prepare(self, params: dict[str, Any], *, is_repair: bool) -> dict[str, Any]:
        """The parameters of the request, with the tools. None are offered for a repair."""
        if is_repair:
            return {name: value for name, value in params.items() if name not in _TOOL_FIELDS}
        own = params.get("tools") or []
        offered = [*own, *definitions(list(self.tools.values()))]
        params = {**params, "tools": offered} if offered else params
        if self.steps and params.get("tool_choice") not in (None, *_KEPT_CHOICES):
            params = {name: value for name, value in params.items() if name != "tool_choice"}
        return params

    # --- What the model has answered ------------------------------------------------------------
    def is_step(self, completion: Completion) -> bool:
        """Whether an answer asks for calls of aily's tools alone: the caller's are the caller's to
        make."""
        calls = completion.tool_calls
        return bool(calls) and not any(call.name in self.own_names for call in calls)

    def limit_reached(self, model_seconds: float) -> str | None:
        """Which limit keeps the loop from another step, but for that of the cost; None: none."""
        options = self.options
        if self.steps >= options.max_steps:
            return f"Its model asked for more than {options.max_steps} steps of tool calls."
        if self.turns.seconds + model_seconds >= options.max_seconds:
            return f"Its model and tools took more than {options.max_seconds:g} s."
        return None

    def cost_limit_reached(self, completion: Completion, model_id: int) -> str | None:
        """`limit_reached` for the cost so far, by the prices of now; reads the database."""
        limit = self.options.max_cost
        for currency, money in self._costs(completion, model_id).items():
            if limit is not None and money > Decimal(str(limit)):
                return f"Its model and tools cost more than {limit:g} {currency}."
        return None

    def _costs(self, completion: Completion, model_id: int) -> dict[str, Decimal]:
        usage = Tokens.of_usage(self.turns.usage).plus(
            Tokens.of_usage(msgspec.to_builtins(completion.usage))
        )
        price = price_at(load_models([model_id])[model_id], timezone.now())
        costs = {price.currency: charge(price, usage)}
        for call in self.turns.calls:
            if call.price:
                own = Decimal(str(call.price))
                costs[call.currency] = costs.get(call.currency, Decimal(0)) + own
        return costs

    def plan(self, completion: Completion, attempt: Attempt) -> NewStep:
        """The step that an answer asks for. Its events have the numbers after `attempt.last_event`:
        first all calls, then the questions to the user, then the results that are known already."""
        now = timezone.now()
        left = self._calls_left()
        calls = [
            self._planned(call, place, now, is_allowed=left is None or place < left)
            for place, call in enumerate(completion.tool_calls)
        ]
        return NewStep(
            number=self.steps + 1,
            attempt=attempt.number,
            text=attempt.text,
            reasoning=attempt.reasoning,
            usage=msgspec.to_builtins(completion.usage),
            model_seconds=attempt.seconds,
            created_at=now,
            calls=_numbered(calls, attempt.last_event),
        )

    def _calls_left(self) -> int | None:
        """How many further calls the request allows; None: any number."""
        if self.options.max_calls is None:
            return None
        return max(self.options.max_calls - len(self.turns.calls), 0)

    def _planned(self, call: ToolCall, place: int, now: datetime, *, is_allowed: bool) -> NewCall:
        tool = self.tools.get(call.name)
        planned = NewCall(
            id=uuid7(),
            place=place,
            call_id=call.id[:CALL_ID_CHARS],
            name=call.name[:NAME_CHARS],
            arguments=call.arguments or "{}",
            state=CallState.QUEUED,
            called_event=0,
        )
        problem = _problem(call, tool) if is_allowed else _TOO_MANY_CALLS
        if tool is None or problem is not None:
            code, text = problem or ("tool_unknown", "")
            return _changed(planned, state=CallState.FAILED, error_code=code, text=text)
        planned = _changed(
            planned,
            tool_id=tool.pk,
            server=tool.server.name,
            is_idempotent=tool.is_idempotent,
            price=str(tool.price),
            currency=tool.currency if tool.price else "",
        )
        if tool.policy == ToolPolicy.AUTOMATIC and tool.function_name not in self.options.asks:
            return planned
        expires_at = now + timedelta(seconds=settings.TOOL_APPROVAL_SECONDS)
        return _changed(planned, state=CallState.REQUIRES_ACTION, expires_at=expires_at)


@dataclass(frozen=True, slots=True)
class Attempt:
    """The attempt that has asked for a step."""

    number: int
    text: str
    reasoning: str
    last_event: int
    seconds: float


_TOO_MANY_CALLS = (TOOL_LIMIT, "This call was not made: the request allows no further one.")
_TOOL_FIELDS = frozenset({"tools", "tool_choice", "parallel_tool_calls"})
_changed = msgspec.structs.replace


def load_loop(task: StartedTask, tools: str, params: Mapping[str, Any]) -> ToolLoop:
    """The loop of a task, from its rows. `tools`: the JSON of its options."""
    options = _decode_options(tools)
    own = own_names(params)
    names = [name for name in options.names if name not in own]
    offered = _chargeable(offered_tools(names, task.owner_id), task.model_id)
    by_name = {tool.function_name: tool for tool in offered}
    return ToolLoop(options, by_name, load_turns(task.id), own)


def _chargeable(tools: Sequence[Tool], model_id: int) -> list[Tool]:
    """The tools without those whose price has another currency than the model's: the ledger has one
    currency a task. Scenes and tools are refused where it is known before (chat/services/scenes.py,
    chat/models/tools.py); a request may name another model."""
    if not any(tool.price for tool in tools):
        return list(tools)
    currency = price_at(load_models([model_id])[model_id], timezone.now()).currency
    return [tool for tool in tools if not tool.price or tool.currency == currency]


def own_names(params: Mapping[str, Any]) -> frozenset[str]:
    """The names of the functions that a request brings itself."""
    own = params.get("tools") or ()
    functions = (tool.get("function") for tool in own if isinstance(tool, dict))
    return frozenset(
        str(function.get("name")) for function in functions if isinstance(function, dict)
    )


def _problem(call: ToolCall, tool: Tool | None) -> tuple[str, str] | None:
    """Why a call cannot be made: a code, and words for the model."""
    if tool is None:
        return "tool_unknown", f"There is no tool named {call.name[:NAME_CHARS]!r}."
    try:
        arguments = msgspec.json.decode(call.arguments or "{}")
    except (msgspec.DecodeError, msgspec.ValidationError, RecursionError):
        return "tool_invalid_arguments", "The arguments are no JSON."
    if not isinstance(arguments, dict):
        return "tool_invalid_arguments", "The arguments must be a JSON object."
    return None


def _numbered(calls: Sequence[NewCall], last_event: int) -> list[NewCall]:
    """The calls with the numbers of their events."""
    asked = last_event + len(calls)
    ended = asked + sum(call.state == CallState.REQUIRES_ACTION for call in calls)
    numbered = []
    for n, call in enumerate(calls, last_event + 1):
        asked += call.state == CallState.REQUIRES_ACTION
        ended += call.state == CallState.FAILED
        numbered.append(
            _changed(
                call,
                called_event=n,
                asked_event=asked if call.state == CallState.REQUIRES_ACTION else 0,
                result_event=ended if call.state == CallState.FAILED else 0,
            )
        )
    return numbered
