"""Puts the tool calls of an answer together from their fragments."""

from __future__ import annotations

import uuid

import msgspec

from chat.llm.errors import AnswerTooLargeError
from chat.llm.types import AnswerLimits, JsonObject, ToolCall, storable
from chat.llm.wire import Anything, WireFunction, WireToolCall, has_value, value_of


class _PartialCall:
    __slots__ = ("arguments", "extra", "id", "index", "length", "name")

    def __init__(self, index: int | None) -> None:
        self.index = index
        self.id = ""
        self.name = ""
        self.arguments: list[str] = []
        #: Of all arguments so far, in characters.
        self.length = 0
        #: JSON.
        self.extra = b""

    @property
    def has_content(self) -> bool:
        """Some servers make up an id for a last, empty fragment, which is no call."""
        return bool(self.name or self.arguments)

    @property
    def whole_arguments(self) -> str:
        """Many servers send no arguments for a function without parameters, which is `{}`."""
        arguments = storable("".join(self.arguments))
        if arguments.startswith('"'):
            arguments = _decoded_again(arguments)
        return arguments if arguments.strip() else "{}"

    def is_repeated_by(self, call_id: str | None, name: str, arguments: str) -> bool:
        """Whether a fragment only says once more all that is known of this call, as some servers
        do beside the finish reason."""
        if not call_id or call_id != self.id or not name or name != self.name:
            return False
        is_object = arguments.startswith("{") and arguments.rstrip().endswith("}")
        # The length first: joining for each fragment of a flood would take a quadratic time.
        return is_object and len(arguments) == self.length and arguments == "".join(self.arguments)

    def is_another(self, name: str, arguments: str) -> bool:
        """Whether a fragment that has a name, but no id, begins another call. Some providers
        repeat the name with each fragment, and some give all calls the same index."""
        if not name or not self.name:
            return False
        if name != self.name:
            return bool(self.arguments) or self.index is None
        # Two values without anything between them are no JSON: the first was whole.
        is_whole = bool(self.arguments) and self.arguments[-1].rstrip().endswith("}")
        return is_whole and arguments.lstrip().startswith("{")


def _decoded_again(arguments: str) -> str:
    """An object that its server has encoded twice; anything else as it is."""
    try:
        inner = msgspec.json.decode(arguments, type=str)
    except (msgspec.DecodeError, UnicodeError):
        return arguments
    return inner if inner.lstrip().startswith("{") else arguments


class ToolCalls:
    """The calls of one answer. A new id begins a call, whatever its index says or lacks; a
    fragment with neither belongs to the latest call."""

    def __init__(self, limits: AnswerLimits) -> None:
        self._limits = limits
        self._bytes = 0
        self._calls: list[_PartialCall] = []
        self._by_id: dict[str, _PartialCall] = {}
        self._by_index: dict[int, _PartialCall] = {}

    def __bool__(self) -> bool:
        return any(call.has_content for call in self._calls)

    def add(self, fragment: WireToolCall, *, is_whole: bool = False) -> None:
        """Take a fragment, or a call that `is_whole`. Raises AnswerTooLargeError."""
        function = fragment.function or WireFunction(fragment.name, fragment.arguments)
        # No function's name has blanks: some models write them around it.
        name, arguments = (function.name or "").strip(), function.arguments or ""
        if not arguments and function.parameters:
            arguments = _written(function.parameters)
        if not (fragment.id or name or arguments):
            return
        is_begun = is_whole and bool(fragment.id or name)
        call = None if is_begun else self._continued(fragment, name, arguments)
        if call is not None and call.is_repeated_by(fragment.id, name, arguments):
            return
        if call is None:
            call = self._begin(fragment.index)
        if fragment.id and not call.id:
            call.id = fragment.id
            self._by_id.setdefault(call.id, call)
            self._count(call.id)
        if name and name != call.name and not call.arguments:
            # A name may come in pieces, or grow.
            call.name = name if name.startswith(call.name) else call.name + name
            self._count(name)
        if fragment.extra_content and has_value(fragment.extra_content):
            call.extra = bytes(fragment.extra_content)
            self._count(call.extra.decode("utf-8", "replace"))
        if arguments:
            if call.arguments == ["{}"] and arguments.lstrip().startswith("{"):
                # An empty object stood for arguments that were still to come.
                call.arguments.clear()
                call.length = 0
            call.arguments.append(arguments)
            call.length += len(arguments)
            self._count(arguments)

    def whole(self) -> tuple[ToolCall, ...]:
        """Return all calls: by index if each has its own, else in the order in which they came."""
        calls = [call for call in self._calls if call.has_content]
        by_index = {call.index: call for call in calls if call.index is not None}
        if len(by_index) == len(calls):
            calls = [call for _, call in sorted(by_index.items())]
        return tuple(
            ToolCall(
                storable(call.id) or f"call_{uuid.uuid4().hex}",
                storable(call.name),
                call.whole_arguments,
                _extra_content(call.extra),
            )
            for call in calls
        )

    def _continued(self, fragment: WireToolCall, name: str, arguments: str) -> _PartialCall | None:
        """The call that a fragment goes on with; None where it begins one."""
        index = fragment.index
        latest = self._calls[-1] if self._calls else None
        here = latest if index is None else self._by_index.get(index)
        if not fragment.id:
            return None if here is None or here.is_another(name, arguments) else here
        known = self._by_id.get(fragment.id)
        if known is not None:
            is_elsewhere = index is not None and known.index not in (None, index)
            return None if is_elsewhere and name else known
        # Servers are known that make up an id for each fragment; those have no name.
        if here is None or (name and here.name):
            return None
        return here if not here.id or (arguments and not name) else None

    def _begin(self, index: int | None) -> _PartialCall:
        if len(self._calls) >= self._limits.tool_calls:
            raise AnswerTooLargeError(f"more than {self._limits.tool_calls} tool calls")
        call = _PartialCall(index)
        self._calls.append(call)
        if index is not None:
            self._by_index[index] = call
        return call

    def _count(self, text: str) -> None:
        self._bytes += len(text) if text.isascii() else len(text.encode("utf-8", "replace"))
        if self._bytes > self._limits.arguments_bytes:
            limit = self._limits.arguments_bytes
            raise AnswerTooLargeError(f"the arguments of tool calls are larger than {limit} bytes")


def _written(parameters: Anything) -> str:
    """The JSON of an object; "" for anything else."""
    text = bytes(parameters).decode("utf-8", "replace")
    return text if text.startswith("{") else ""


def _extra_content(extra: bytes) -> JsonObject | None:
    """The vendor's own fields of a call. A NUL character in them cannot be stored."""
    content = value_of(msgspec.Raw(extra)) if extra and b"\\u0000" not in extra else None
    return content if isinstance(content, dict) else None
