"""Puts the tool calls of an answer together from their fragments."""

from __future__ import annotations

import uuid

import msgspec

from chat.llm.errors import AnswerTooLargeError
from chat.llm.tool_arguments import Arguments
from chat.llm.types import AnswerLimits, JsonObject, ToolCall, storable
from chat.llm.wire import Anything, WireFunction, WireToolCall, has_value, value_of


class _PartialCall:
    __slots__ = ("arguments", "extra", "id", "index", "name")

    def __init__(self, index: int | None) -> None:
        self.index = index
        self.id = ""
        self.name = ""
        self.arguments = Arguments()
        #: JSON.
        self.extra = b""

    @property
    def has_content(self) -> bool:
        """Some servers make up an id for a last, empty fragment, which is no call."""
        return bool(self.name or self.arguments)

    def is_repeated_by(self, call_id: str | None, name: str, arguments: str) -> bool:
        """Whether a fragment only says once more all that is known of this call, as some servers
        do beside the finish reason."""
        if call_id not in (None, "", self.id) or name not in ("", self.name):
            return False
        return self.arguments.is_repeated_by(arguments)

    def is_another(self, name: str, arguments: str) -> bool:
        """Whether a fragment that has a name, but no id, begins another call. Some providers
        repeat the name with each fragment, and some give all calls the same index."""
        if not name or not self.name:
            return False
        if name != self.name:
            return bool(self.arguments) or self.index is None
        # Two values without anything between them are no JSON: the first was whole.
        is_whole = self.arguments.last.rstrip().endswith("}")
        if not is_whole or not arguments.lstrip().startswith("{"):
            return False
        # At the same place it may be said again, with more than before or not.
        is_said_again = self.arguments.is_repeated_by(arguments) or (
            arguments.startswith(self.arguments.last)
        )
        return self.index is None or not is_said_again


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
            self._count(call.arguments.add(arguments))

    def whole(self) -> tuple[ToolCall, ...]:
        """Return all calls: by index if each has its own, else in the order in which they came.

        Raises AnswerTooLargeError.
        """
        calls = [call for call in self._calls if call.has_content]
        by_index = {call.index: call for call in calls if call.index is not None}
        if len(by_index) == len(calls):
            calls = [call for _, call in sorted(by_index.items())]
        separate = [(call, arguments) for call in calls for arguments in call.arguments.whole()]
        if len(separate) > self._limits.tool_calls:
            raise self._too_many()
        ids = _CallIds()
        return tuple(
            ToolCall(
                ids.take(storable(call.id)),
                storable(call.name),
                arguments,
                _extra_content(call.extra),
            )
            for call, arguments in separate
        )

    def are_repeated_by(self, calls: list[WireToolCall]) -> bool:
        """Whether a message says these calls once more, maybe with more of them."""
        known = [call for call in self._calls if call.has_content]
        return 0 < len(known) <= len(calls) and all(
            (call.id, call.name) == (other.id or "", ((other.function or other).name or "").strip())
            for call, other in zip(known, calls, strict=False)
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
            raise self._too_many()
        call = _PartialCall(index)
        self._calls.append(call)
        if index is not None:
            self._by_index[index] = call
        return call

    def _too_many(self) -> AnswerTooLargeError:
        return AnswerTooLargeError(f"more than {self._limits.tool_calls} tool calls")

    def _count(self, text: str) -> None:
        self._bytes += len(text) if text.isascii() else len(text.encode("utf-8", "replace"))
        if self._bytes > self._limits.arguments_bytes:
            limit = self._limits.arguments_bytes
            raise AnswerTooLargeError(f"the arguments of tool calls are larger than {limit} bytes")


def is_own_call(position: int, call: WireToolCall) -> bool:
    """Whether a fragment has neither id nor index: in one event, each such is a call of its own."""
    is_unmarked = not call.id and call.index is None
    return position > 0 and is_unmarked and call.function is not None and bool(call.function.name)


class _CallIds:
    """Ids of calls. Results are sent back by them, so each is given out once."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def take(self, call_id: str) -> str:
        """The id, or one that is made up where there is none or it is taken."""
        if not call_id or call_id in self._taken:
            call_id = f"call_{uuid.uuid4().hex}"
        self._taken.add(call_id)
        return call_id


def _written(parameters: Anything) -> str:
    """The JSON of an object; "" for anything else."""
    text = bytes(parameters).decode("utf-8", "replace")
    return text if text.startswith("{") else ""


def _extra_content(extra: bytes) -> JsonObject | None:
    """The vendor's own fields of a call. A NUL character in them cannot be stored."""
    content = value_of(msgspec.Raw(extra)) if extra and b"\\u0000" not in extra else None
    return content if isinstance(content, dict) else None
