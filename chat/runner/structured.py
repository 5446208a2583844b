"""The answer of a task with a JSON Schema: how it is asked for, held back and checked."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Any

import msgspec

from chat.llm.errors import BadRequestError, ProviderError
from chat.llm.types import ChatRequest, Usage
from chat.models.provider_fields import StructuredOutput
from chat.models.transitions import StartedTask
from chat.runner.pools import Deployment
from chat.structured.checking import UncheckedError, check_answer
from chat.structured.formats import OutputFormat
from chat.structured.repair import Repair, quoted
from chat.structured.translation import translate

logger = logging.getLogger(__name__)

INVALID_OUTPUT = "invalid_output"
_MAX_MESSAGE_CHARS = 500
#: Words by which providers refuse a `response_format` that they do not know.
_WORDS_OF_REFUSALS = ("response_format", "json_schema", "response format")


@dataclass(frozen=True, slots=True)
class Misfit:
    """Why an answer does not fit. `repair`: what another attempt is asked with; None: no other is
    made."""

    message: str
    repair: Repair | None = None

    def error(self) -> dict[str, str]:
        return {"code": INVALID_OUTPUT, "message": self.message[:_MAX_MESSAGE_CHARS]}


@dataclass(slots=True)
class StructuredAnswer:
    """One attempt's answer to a task with a JSON Schema.

    It is held back until it fits, reasoning and all, so that no reader is sent an answer that a
    repaired one takes the place of: clients of some surfaces cannot take back what they were sent.
    Only where staff, or its host's name, say that the model keeps to schemas by itself is it passed
    on as it comes.
    """

    output: OutputFormat
    deployment: Deployment
    repair: Repair | None
    #: Whether its text is held back. Staff may change the model's settings while it is called.
    is_held: bool = field(init=False)
    _given_mode: StructuredOutput | None = field(init=False)
    #: As which it was asked last.
    _mode: StructuredOutput = field(init=False)
    _text: list[str] = field(default_factory=list, init=False)
    _reasoning: list[str] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        self._given_mode = self.deployment.structured_output
        self._mode = self._given_mode or self.deployment.learnt_output.mode
        self.is_held = self._given_mode is not StructuredOutput.NATIVE

    @classmethod
    def of(cls, task: StartedTask, deployment: Deployment) -> StructuredAnswer | None:
        """None for a task without a schema."""
        if task.response_format is None:
            return None
        source = msgspec.json.decode(task.response_format)
        repair = msgspec.json.decode(task.repair, type=Repair) if task.repair else None
        return cls(OutputFormat(source), deployment, repair)

    # --- Asking ---------------------------------------------------------------------------------
    def request(self, request: ChatRequest) -> ChatRequest:
        """The request, with the schema as the provider gets it."""
        self._mode = self._given_mode or self.deployment.learnt_output.mode
        messages: list[Any] = msgspec.json.decode(msgspec.json.encode(request.messages))
        sent = translate(self.output, self._mode, messages, self.repair)
        params = {**request.params, "response_format": sent.response_format}
        return msgspec.structs.replace(request, messages=sent.messages, params=params)

    def is_to_be_asked_otherwise(self, error: ProviderError) -> bool:
        """Note that the provider refuses to be asked in this way, unknown to staff."""
        words = error.message.lower()
        is_about_format = any(word in words for word in _WORDS_OF_REFUSALS)
        if not isinstance(error, BadRequestError) or not is_about_format:
            return False
        if self._given_mode is not None or self._mode is StructuredOutput.PROMPT:
            return False
        self.deployment.learnt_output.note_refused(self._mode)
        logger.info(
            "%s: refuses %s for a schema: %s", self.deployment.name, self._mode, error.message
        )
        return True

    # --- Holding back ---------------------------------------------------------------------------
    def hold(self, text: str, reasoning: str) -> None:
        self._text.append(text)
        self._reasoning.append(reasoning)

    @property
    def held(self) -> tuple[str, str]:
        """The text and the reasoning that are held back."""
        return "".join(self._text), "".join(self._reasoning)

    def take_held(self) -> tuple[str, str]:
        """`held`; from now on there are none."""
        held = self.held
        self._text.clear()
        self._reasoning.clear()
        return held

    # --- Checking -------------------------------------------------------------------------------
    async def check(self, task: StartedTask, text: str, usage: Usage) -> str | Misfit:
        """The answer as bare JSON that fits, or why it does not."""
        try:
            checked = await check_answer(self.output.schema, text, task.owner_id)
        except UncheckedError as error:
            return Misfit(f"The answer cannot be checked against its JSON Schema: {error}")
        errors = checked.errors
        if checked.text is not None:
            # What was passed on already cannot be cut out of its fence.
            if self.is_held or checked.text == text:
                return checked.text
            errors = ("There is more than the JSON.",)
        problem = "; ".join(errors)
        if self.repair is not None:
            return Misfit(f"Neither answer fits the JSON Schema. The last one: {problem}")
        repair = Repair(task.attempt, quoted(text), errors, self.usage_with(usage))
        return Misfit(f"The answer does not fit the JSON Schema: {problem}", repair)

    def usage_with(self, usage: Usage) -> dict[str, int]:
        """Tokens of all calls that gave a whole answer; `usage`: those of this attempt's."""
        before = self.repair.usage if self.repair else {}
        counts: dict[str, int] = msgspec.to_builtins(usage)
        return {name: count + before.get(name, 0) for name, count in counts.items()}
