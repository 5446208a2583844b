"""The history of conversations as providers are sent it: bounded, and valid for strict ones.

An *exchange* is what was asked (a question, results of tool calls) with its answer; an exchange
without an answer, as its task failed, is left out. A *turn* is a question and the exchanges that
follow from it: one, or more where tools are called. Providers that are strict want turns that begin
with the user, and every tool call right before its results.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice, takewhile, zip_longest
from typing import Any
from uuid import UUID

import msgspec
from django.conf import settings

from aily.database.statements import fetch_all
from chat.tool_calls import ids_of, is_result

#: Bytes of JSON that count as one token: English has about 4 a token, Chinese 5, source code 3.
BYTES_PER_TOKEN = 3
#: Of each conversation, at most so many messages are read for a prompt.
MAX_MESSAGES = 1000
#: A history that has grown too long is cut to three quarters of its room: its new beginning then
#: stays the same for some turns, for which providers' caches know it.
CUT_SHARE = 0.75

#: Stands for an answer that called tools, where the user went on without their results.
INTERRUPTED = "(interrupted)"

# Nothing that is too old to be sent is read. But for the newest question: of a turn that is too
# long by itself, later exchanges are sent with that.
_READ = """
SELECT c.owner_id, c.id, c.updated_at, c.title,
       (SELECT f.id FROM chat_message f WHERE f.conversation_id = c.id ORDER BY f.id LIMIT 1),
       (SELECT t.history_from FROM chat_task t
         WHERE t.id = (SELECT n.task_id FROM chat_message n WHERE n.conversation_id = c.id
                        ORDER BY n.id DESC LIMIT 1)),
       m.id, m.role, m.content, m.parts::text, m.reasoning, m.tool_calls::text, m.tool_call_id,
       m.task_id, m.number
  FROM unnest(%(owners)s::bigint[], %(ids)s::uuid[]) AS v(owner_id, id)
  JOIN chat_conversation c ON c.id = v.id AND c.owner_id = v.owner_id
  LEFT JOIN LATERAL (
    SELECT newest.*,
           sum(octet_length(content) + octet_length(reasoning)
               + coalesce(octet_length(parts::text), 0)
               + coalesce(octet_length(tool_calls::text), 0)) OVER later AS bytes,
           count(*) FILTER (WHERE role = 'user') OVER later AS questions,
           row_number() OVER later AS number
      FROM (SELECT * FROM chat_message WHERE conversation_id = c.id
             ORDER BY id DESC LIMIT %(messages)s) newest
    WINDOW later AS (ORDER BY id DESC)
  ) m ON m.bytes <= %(bytes)s OR (m.role = 'user' AND m.questions = 1)
 ORDER BY m.id
"""


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """A message of a conversation, with the columns that prompts are made of."""

    id: UUID
    role: str
    content: str
    parts: str | None = None
    reasoning: str = ""
    tool_calls: str | None = None
    tool_call_id: str = ""
    task_id: UUID | None = None
    #: Counted from the newest, which is 1.
    number: int = 1

    @property
    def says_something(self) -> bool:
        return bool(self.content.strip() or self.parts or self.tool_calls or self.role == "tool")

    def as_sent(self) -> dict[str, Any]:
        content = json.loads(self.parts) if self.parts else self.content
        if self.role == "tool":
            return {"role": "tool", "tool_call_id": self.tool_call_id, "content": content}
        if not self.tool_calls:
            return {"role": self.role, "content": content}
        message = {"role": self.role, "content": content or None}
        if self.reasoning:
            message["reasoning_content"] = self.reasoning
        return {**message, "tool_calls": json.loads(self.tool_calls)}


@dataclass(slots=True)
class History:
    """What was read of a conversation, oldest message first."""

    conversation_id: UUID
    updated_at: datetime
    title: str
    #: The conversation's first message, read or not; None: there is none.
    first_id: UUID | None
    #: Where what was sent last began, if that was not the first message.
    sent_from: UUID | None
    messages: list[StoredMessage] = field(default_factory=list)

    @property
    def read_from(self) -> UUID | None:
        """From this message on all were read; None: not even the newest was."""
        has_gap = bool(self.messages) and self.messages[0].number != len(self.messages)
        return next((message.id for message in self.messages[has_gap:]), None)


def most_bytes() -> int:
    """Of a prompt with history."""
    tokens: int = settings.CONVERSATION_MAX_TOKENS
    return min(tokens * BYTES_PER_TOKEN, int(settings.PROMPT_MAX_BYTES))


def read(wanted: Collection[tuple[int, UUID]]) -> dict[tuple[int, UUID], History]:
    """The end of each (owner id, conversation id) that exists and is that owner's."""
    params = {
        "owners": [owner_id for owner_id, _ in wanted],
        "ids": [conversation_id for _, conversation_id in wanted],
        "messages": MAX_MESSAGES,
        "bytes": most_bytes(),
    }
    found: dict[tuple[int, UUID], History] = {}
    for owner_id, pk, updated_at, title, first_id, sent_from, *message in fetch_all(_READ, params):
        history = found.get((owner_id, pk))
        if history is None:
            history = History(pk, updated_at, title, first_id, sent_from)
            found[owner_id, pk] = history
        if message[0] is not None:
            history.messages.append(StoredMessage(*message))
    return found


# --- Exchanges ----------------------------------------------------------------------------------
@dataclass(slots=True)
class Exchange:
    """What was asked, and what was answered to that."""

    asked: list[StoredMessage] = field(default_factory=list)
    answers: list[StoredMessage] = field(default_factory=list)

    @property
    def begins_turn(self) -> bool:
        return bool(self.asked) and self.asked[0].role == "user"

    @property
    def messages(self) -> list[StoredMessage]:
        return [*self.asked, *self.answers]

    @property
    def size(self) -> int:
        return size_of(message.as_sent() for message in self.messages)

    def accepts(self, message: StoredMessage) -> bool:
        """Whether a question or result was given together with what this exchange has."""
        last = self.asked[-1] if self.asked else None
        if last is None or self.answers or last.task_id != message.task_id:
            return False
        # Of tasks that are gone it is not known: a second question is another's.
        return message.task_id is not None or message.role == "tool"


def size_of(messages: Iterable[dict[str, Any]]) -> int:
    """Bytes that messages take in a prompt's JSON, each with its comma."""
    return sum(len(msgspec.json.encode(message)) + 1 for message in messages)


def answered_exchanges(history: History, replaces: UUID | None = None) -> list[Exchange]:
    """The exchanges that have an answer, without those of the task that is to be replaced."""
    exchanges: list[Exchange] = []
    by_task: dict[UUID, Exchange] = {}
    for message in history.messages:
        if not message.says_something or (replaces and message.task_id == replaces):
            continue
        if message.role == "assistant":
            # Behind the next question already, where its task was stopped just before that.
            known = by_task.get(message.task_id) if message.task_id else None
            known = known or (exchanges[-1] if exchanges else None)
            if known is None:
                exchanges.append(known := Exchange())
            known.answers.append(message)
        elif message.role in ("user", "tool"):
            if not exchanges or not exchanges[-1].accepts(message):
                exchanges.append(Exchange())
            exchanges[-1].asked.append(message)
            if message.task_id:
                by_task[message.task_id] = exchanges[-1]
    return [
        exchange
        for exchange, following in zip_longest(exchanges, exchanges[1:])
        if _is_of_use(exchange, following)
    ]


def _is_of_use(exchange: Exchange, following: Exchange | None) -> bool:
    """Whether an exchange has an answer, or is the question of later ones: of a very long turn,
    what came in between is not read."""
    goes_on = following is not None and not following.begins_turn
    return bool(exchange.answers) or (exchange.begins_turn and goes_on)


def awaited_results(exchanges: Sequence[Exchange]) -> list[str]:
    """The ids of the tool calls that the last answer has made."""
    answers = exchanges[-1].answers if exchanges else []
    return ids_of(answers[-1].as_sent()) if answers else []


# --- Fitting ------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Sent:
    """The messages of a history that are sent, and the first's id, if older ones are left out."""

    messages: list[dict[str, Any]]
    is_cut: bool
    first_id: UUID | None


def fit(history: History, exchanges: Sequence[Exchange], room: int, *, is_awaited: bool) -> Sent:
    """As much of the end of a history as `room` bytes hold; all of it where it fits.

    With `is_awaited` results of the last answer's tool calls are about to follow.
    """
    kept, is_cut = _chosen(history, exchanges, room)
    turns = _turns(kept)
    messages = [
        message
        for number, turn in enumerate(turns, 1)
        for message in _paired(turn, is_awaited=is_awaited and number == len(turns))
    ]
    first = next((message.id for exchange in kept for message in exchange.messages), None)
    return Sent(messages, is_cut, first)


def _chosen(
    history: History, exchanges: Sequence[Exchange], room: int
) -> tuple[list[Exchange], bool]:
    """The exchanges that are sent, and whether any are left out for their length."""
    start, read_from = history.sent_from, history.read_from
    kept = [exchange for exchange in exchanges if start is None or exchange.messages[0].id >= start]
    was_cut = len(kept) < len(exchanges) or read_from != history.first_id
    reaches = read_from == history.first_id or (start and read_from and read_from <= start)
    if reaches and sum(exchange.size for exchange in kept) <= max(room, 0):
        return list(kept), was_cut
    return _newest(kept, int(room * CUT_SHARE)) or _newest(kept, room), True


def _newest(exchanges: Sequence[Exchange], room: int) -> list[Exchange]:
    """The newest turns that fit; of the last one, if it alone does not, its question and its newest
    exchanges."""
    fitting = _fitting(exchanges, room)
    starts = [index for index, exchange in enumerate(fitting) if exchange.begins_turn]
    if starts:
        return fitting[starts[0] :]
    last = next((exchange for exchange in reversed(exchanges) if exchange.begins_turn), None)
    if last is None:
        return []
    question = Exchange(asked=last.asked)
    later = _fitting(fitting, room - question.size)
    return [question, *later] if later else []


def _fitting(exchanges: Sequence[Exchange], room: int) -> list[Exchange]:
    def fits(exchange: Exchange) -> bool:
        nonlocal room
        room -= exchange.size
        return room >= 0

    return list(takewhile(fits, reversed(exchanges)))[::-1]


def _turns(exchanges: Iterable[Exchange]) -> list[list[dict[str, Any]]]:
    turns: list[list[dict[str, Any]]] = []
    for exchange in exchanges:
        if exchange.begins_turn:
            turns.append([])
        if turns:
            turns[-1] += [message.as_sent() for message in exchange.messages]
    return turns


def _paired(messages: Sequence[dict[str, Any]], *, is_awaited: bool) -> list[dict[str, Any]]:
    """A turn without calls that have no results, without results that have no call, and without
    what then has no answer."""
    paired: list[dict[str, Any]] = []
    for index, message in enumerate(messages):
        wanted = ids_of(message)
        results = _results_after(messages, index) if wanted else {}
        if all(call_id in results for call_id in wanted):
            paired += [] if is_result(message) else [message]
            paired += [results[call_id] for call_id in wanted]
        elif is_awaited and index + 1 == len(messages):
            paired.append(message)
        elif message["content"]:
            paired.append({"role": message["role"], "content": message["content"]})
        elif paired and is_result(paired[-1]):
            # What was called before had its results: that is kept, and needs an answer.
            paired.append({"role": message["role"], "content": INTERRUPTED})
    while paired and paired[-1]["role"] == "user":
        paired.pop()
    return paired


def _results_after(messages: Sequence[dict[str, Any]], index: int) -> dict[str, dict[str, Any]]:
    """The results that directly follow a message, by the ids of their calls."""
    results = takewhile(is_result, islice(messages, index + 1, None))
    return {result["tool_call_id"]: result for result in results}
