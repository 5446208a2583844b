"""The history of a conversation in the form that providers get: bounded, and valid for strict ones.

An *exchange* is what was asked (a question, or results of tool calls) and its answer. An exchange
without an answer, as its task failed, is left out. A *turn* is a question and the exchanges that
follow from it: one, or more if tools are called. Strict providers want turns that begin with the
user, and every tool call directly before its results.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice, takewhile, zip_longest
from uuid import UUID

import msgspec
from django.conf import settings

from aily.database.rows import Row, fetch_rows
from chat.tool_calls import Content, PromptMessage, ids_of, is_result

#: Bytes of JSON that count as one token: English has about 4 a token, Chinese 5, source code 3.
BYTES_PER_TOKEN = 3
#: At most this many messages of a conversation are read for a prompt.
MAX_MESSAGES = 1000
#: A history that has grown too long is cut to three quarters of its room: its new beginning then
#: stays the same for some turns, for which providers' caches know it.
CUT_SHARE = 0.75

#: Sent in place of an answer that called tools, if the user went on without their results.
INTERRUPTED = "(interrupted)"
#: Sent in place of a question that was blank, which strict providers refuse; its answer follows.
BLANK = "(blank)"

# Messages that are too old to be sent are not read, except the newest question: it is sent with the
# later exchanges of its turn, if the whole turn is too long.
_READ = """
SELECT c.owner_id, c.id AS conversation_id, c.updated_at, c.title,
       (SELECT f.id FROM chat_message f WHERE f.conversation_id = c.id ORDER BY f.id LIMIT 1)
         AS first_id,
       (SELECT t.history_from FROM chat_task t
         WHERE t.id = (SELECT n.task_id FROM chat_message n WHERE n.conversation_id = c.id
                        ORDER BY n.id DESC LIMIT 1)) AS sent_from,
       m.id AS message_id, coalesce(m.role, '') AS role, coalesce(m.content, '') AS content,
       m.parts::text AS parts, coalesce(m.reasoning, '') AS reasoning,
       m.tool_calls::text AS tool_calls, coalesce(m.tool_call_id, '') AS tool_call_id, m.task_id,
       coalesce(m.number, 0) AS number
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


class _HistoryRow(Row, frozen=True):
    """A conversation with one of its messages. Of a conversation without any, the only row."""

    owner_id: int
    conversation_id: UUID
    updated_at: datetime
    title: str
    first_id: UUID | None
    sent_from: UUID | None
    #: None: there is no message, and what follows is empty.
    message_id: UUID | None
    role: str
    content: str
    parts: str | None
    reasoning: str
    tool_calls: str | None
    tool_call_id: str
    task_id: UUID | None
    number: int


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """A message of a conversation, with the columns that prompts are made of."""

    id: UUID
    role: str
    content: str
    #: JSON, where the content is more than one text.
    parts: str | None = None
    reasoning: str = ""
    #: JSON, in the provider's form.
    tool_calls: str | None = None
    tool_call_id: str = ""
    task_id: UUID | None = None
    #: Counted from the newest, which is 1.
    number: int = 1

    @property
    def has_content(self) -> bool:
        says_something = bool(self.content.strip() or self.parts or self.tool_calls)
        return says_something or self.role in ("user", "tool")

    def as_sent(self) -> PromptMessage:
        content: Content = json.loads(self.parts) if self.parts else self.content
        if self.role == "tool":
            return {"role": "tool", "tool_call_id": self.tool_call_id, "content": content}
        if self.role == "user" and not (self.parts or self.content.strip()):
            content = BLANK
        if not self.tool_calls:
            return {"role": self.role, "content": content}
        message: PromptMessage = {"role": self.role, "content": content or None}
        if self.reasoning:
            message["reasoning_content"] = self.reasoning
        message["tool_calls"] = json.loads(self.tool_calls)
        return message


@dataclass(slots=True)
class History:
    """What was read of a conversation, oldest message first."""

    conversation_id: UUID
    updated_at: datetime
    title: str
    #: The conversation's first message, read or not; None: there is none.
    first_id: UUID | None
    #: The first message of the part that was sent last, if that was not the whole.
    sent_from: UUID | None
    messages: list[StoredMessage] = field(default_factory=list)

    @property
    def read_from(self) -> UUID | None:
        """From this message on all were read; None if not even the newest was."""
        has_gap = bool(self.messages) and self.messages[0].number != len(self.messages)
        return next((message.id for message in self.messages[has_gap:]), None)


def max_bytes() -> int:
    """Maximum size of a prompt with history."""
    tokens: int = settings.CONVERSATION_MAX_TOKENS
    return min(tokens * BYTES_PER_TOKEN, int(settings.PROMPT_MAX_BYTES))


def read(wanted: Collection[tuple[int, UUID]]) -> dict[tuple[int, UUID], History]:
    """The end of each (owner id, conversation id) that exists and is that owner's."""
    params = {
        "owners": [owner_id for owner_id, _ in wanted],
        "ids": [conversation_id for _, conversation_id in wanted],
        "messages": MAX_MESSAGES,
        "bytes": max_bytes(),
    }
    found: dict[tuple[int, UUID], History] = {}
    for row in fetch_rows(_HistoryRow, _READ, params):
        key = row.owner_id, row.conversation_id
        history = found.get(key)
        if history is None:
            history = found[key] = History(
                row.conversation_id, row.updated_at, row.title, row.first_id, row.sent_from
            )
        if row.message_id is not None:
            history.messages.append(_message_of(row, row.message_id))
    return found


def _message_of(row: _HistoryRow, message_id: UUID) -> StoredMessage:
    return StoredMessage(
        message_id,
        row.role,
        row.content,
        row.parts,
        row.reasoning,
        row.tool_calls,
        row.tool_call_id,
        row.task_id,
        row.number,
    )


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


def size_of(messages: Iterable[PromptMessage]) -> int:
    """Bytes that messages take in a prompt's JSON, each with its comma."""
    return sum(len(msgspec.json.encode(message)) + 1 for message in messages)


def answered_exchanges(history: History, replaces: UUID | None = None) -> list[Exchange]:
    """The exchanges that have an answer, without those of the task that is being replaced."""
    exchanges: list[Exchange] = []
    by_task: dict[UUID, Exchange] = {}
    for message in history.messages:
        if not message.has_content or (replaces and message.task_id == replaces):
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
        if _is_worth_sending(exchange, following)
    ]


def _is_worth_sending(exchange: Exchange, following: Exchange | None) -> bool:
    """Whether an exchange has an answer, or is the question of later exchanges: in a very long turn
    those in between are not read."""
    goes_on = following is not None and not following.begins_turn
    return bool(exchange.answers) or (exchange.begins_turn and goes_on)


def awaited_results(exchanges: Sequence[Exchange]) -> list[str]:
    """The ids of the tool calls that the last answer has made."""
    answers = exchanges[-1].answers if exchanges else []
    return ids_of(answers[-1].as_sent()) if answers else []


# --- Fitting ------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Sent:
    """The messages of a history that are sent. `is_cut`: older ones are left out."""

    messages: list[PromptMessage]
    is_cut: bool
    first_id: UUID | None


def fit(history: History, exchanges: Sequence[Exchange], room: int, *, is_awaited: bool) -> Sent:
    """The end of a history that fits into `room` bytes; all of it if it fits.

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


def _turns(exchanges: Iterable[Exchange]) -> list[list[PromptMessage]]:
    turns: list[list[PromptMessage]] = []
    for exchange in exchanges:
        if exchange.begins_turn:
            turns.append([])
        if turns:
            turns[-1] += [message.as_sent() for message in exchange.messages]
    return turns


def _paired(messages: Sequence[PromptMessage], *, is_awaited: bool) -> list[PromptMessage]:
    """A turn without calls that have no results, without results that have no call, and without
    what then has no answer."""
    paired: list[PromptMessage] = []
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


def _results_after(messages: Sequence[PromptMessage], index: int) -> dict[str, PromptMessage]:
    """The results that directly follow a message, by the ids of their calls."""
    results = takewhile(is_result, islice(messages, index + 1, None))
    return {result["tool_call_id"]: result for result in results}
