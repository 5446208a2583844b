"""The simulated answer: a function of the last user message, the model and the seed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b
from itertools import cycle, islice
from random import Random

from chat.llm.simulator.config import DEFAULT_ANSWER_TOKENS, JsonObject
from chat.llm.simulator.directives import Directives, parse_directives, without_directives
from chat.llm.simulator.schemas import asked_before, json_answer, schema_of, value_of
from chat.llm.simulator.tool_plan import quoted_results, steps_taken

ECHO_CHARS = 80
#: Keywords of a schema that not every text fits.
_TEXT_RULES = frozenset({"const", "enum", "format", "maxLength", "minLength", "pattern"})
# The seam between tokens: a token is a word's start with the space before it, or a later part.
_TOKEN = re.compile(r"\s*[^\s]{1,5}|\s+")

_SENTENCES = (
    "A queue is a promise: whatever is accepted will have its turn.",
    "Most of the waiting happens before the first word, and hardly any after it.",
    "Small steps that can be checked beat one large step that cannot.",
    "What is measured twice is believed once.",
    "A cache answers quickly and is wrong quietly, so it needs an end date.",
    "Les mots accentués passent aussi: déjà vu, garçon, à bientôt.",
    "Auch Umlaute überstehen den Weg: schöne Grüße aus dem Süden.",
    "漢字やかなも、途中で切れずに届きます。",
    "Wide characters and emoji arrive whole as well 🚀✨, whatever the chunks look like.",
    "Numbers help: 3 of 4 readers skim, and 1 of 4 reads every line.",
    "The order of events matters more than their speed.",
    "If two readers watch the same answer, both should see the same bytes.",
    "A name that says what a thing is saves the comment that explains it.",
    "Reconnecting should be boring: nothing lost, nothing shown twice.",
)
_ITEMS = (
    "**accept** the request and write it down",
    "**wait** for a fair turn",
    "**stream** the words as they come 🌊",
    "**resume** after a lost connection",
    "**store** the whole answer",
    "**count** the tokens and the cost",
    "**cancel** within a second",
    "*measure* before and after",
)
_CODE = (
    '```python\nfor piece in answer:\n    print(piece, end="", flush=True)\n```',
    "```sql\nSELECT status, count(*) FROM task GROUP BY status;\n```",
    '```json\n{"status": "succeeded", "attempt": 1}\n```',
)
_THOUGHTS = (
    "The user wants an answer that reads well.",
    "First I look at what was asked, then at what was meant.",
    "A short list may be clearer than a paragraph.",
    "There is no need to be certain where nothing is known.",
    "I should say openly that this is simulated.",
    "Ein kurzer Gedanke auf Deutsch schadet nicht – naïve, but fine.",
)


@dataclass(frozen=True)
class SimulatedToolCall:
    id: str
    name: str
    arguments: str


@dataclass(frozen=True)
class SimulatedAnswer:
    """`tokens` are those of the text, and cut where max_tokens cut it."""

    tokens: list[str]
    reasoning_tokens: list[str]
    finish_reason: str
    tool_calls: list[SimulatedToolCall]
    prompt_tokens: int

    @property
    def text(self) -> str:
        return "".join(self.tokens)

    @property
    def reasoning(self) -> str:
        return "".join(self.reasoning_tokens)


def simulated_answer(
    body: JsonObject,
    seed: int = 0,
    answer_tokens: tuple[int, int] = DEFAULT_ANSWER_TOKENS,
    directives: Directives | None = None,
) -> SimulatedAnswer:
    """The answer to a request's JSON body, faults aside. `directives` are its prompt's, where they
    have been read already. Raises ValueError at a bad one."""
    prompt = last_user_message(body)
    directives = directives or parse_directives(prompt)
    rng = request_rng(body, seed)
    length = directives.tokens if directives.tokens is not None else rng.randint(*answer_tokens)
    calls = _tool_calls(body, directives, rng)
    reasoning = _reasoning(rng, max(4, length // 4)) if thinking_enabled(body) else []
    tokens = [] if calls else _answer_tokens(body, prompt, length, directives, rng)
    finish = "tool_calls" if calls else "stop"
    limit = body.get("max_completion_tokens", body.get("max_tokens"))
    if isinstance(limit, int) and limit < len(reasoning) + len(tokens):
        reasoning, tokens = reasoning[:limit], tokens[: max(0, limit - len(reasoning))]
        finish = "length"
    return SimulatedAnswer(
        tokens=tokens,
        reasoning_tokens=reasoning,
        finish_reason=finish,
        tool_calls=calls,
        prompt_tokens=_prompt_tokens(body),
    )


def _answer_tokens(
    body: JsonObject, prompt: str, length: int, directives: Directives, rng: Random
) -> list[str]:
    """The text of an answer without tool calls: JSON where the request asks for it."""
    if (schema := schema_of(body)) is not None:
        before = asked_before(body)
        return _tokens(json_answer(schema, before or directives, rng, is_repair=before is not None))
    if wants_json(body):
        return _tokens(_json_text(body, prompt, length, rng))
    if directives.plan and (quotes := quoted_results(body["messages"])):
        return _tokens(quotes)
    tokens = _cut(_markdown(body, without_directives(prompt), length, rng), length)
    if directives.nul:
        tokens.insert(len(tokens) // 2, "\x00")
    return tokens


def request_rng(body: JsonObject, seed: int) -> Random:
    """A source of chance that depends on the seed, the model and the last user message only."""
    text = f"{seed}\0{body.get('model')}\0{last_user_message(body)}"
    return Random(blake2b(text.encode("utf-8", "replace"), digest_size=16).digest())  # noqa: S311 chance only


def last_user_message(body: JsonObject) -> str:
    """The text of the last message of the role user, "" when there is none."""
    for message in reversed(body.get("messages") or []):
        if message.get("role") == "user":
            return message_text(message)
    return ""


def message_text(message: JsonObject) -> str:
    """The text of a message whose content is a string or a list of parts."""
    content = message.get("content")
    if isinstance(content, list):
        return "\n".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""


def thinking_enabled(body: JsonObject) -> bool:
    """Thinking is on unless it is turned off."""
    thinking = body.get("thinking")
    return not (isinstance(thinking, dict) and thinking.get("type") == "disabled")


def wants_json(body: JsonObject) -> bool:
    """Whether JSON mode is asked for."""
    response_format = body.get("response_format")
    return isinstance(response_format, dict) and response_format.get("type") == "json_object"


def _tokens(text: str) -> list[str]:
    return _TOKEN.findall(text)


@cache
def _fixed_tokens(text: str) -> tuple[str, ...]:
    """The tokens of one of the texts above, with what stands before it: some 150 in all."""
    return tuple(_tokens(text))


def _cut(tokens: list[str], length: int) -> list[str]:
    return tokens if len(tokens) <= length else [*tokens[: max(0, length - 1)], " …"][:length]


def _prompt_tokens(body: JsonObject) -> int:
    return 4 + sum(4 + len(message_text(message)) // 4 for message in body.get("messages") or [])


def _echo(prompt: str) -> str:
    words = " ".join(prompt.encode("utf-8", "replace").decode().replace("\0", "").split())
    return words if len(words) <= ECHO_CHARS else words[: ECHO_CHARS - 1].rstrip() + "…"


def _markdown(body: JsonObject, prompt: str, length: int, rng: Random) -> list[str]:
    """Tokens of Markdown, at least `length`. What stands between two texts begins the token after
    it, so that the others of a text are the same wherever it stands."""
    model = body.get("model")
    tokens = _tokens(f"This is a *simulated* answer of **{model}**: no model was asked.")
    if echo := _echo(prompt):
        tokens += _tokens(f"\n\n> {echo}")
    for block in _blocks(rng):
        if len(tokens) >= length:
            break
        tokens += block
    return tokens


def _blocks(rng: Random) -> Iterator[Iterable[str]]:
    sentences = cycle(rng.sample(_SENTENCES, len(_SENTENCES)))
    while True:
        yield _block(islice(sentences, rng.randint(2, 4)), " ")
        items = rng.sample(_ITEMS, rng.randint(3, 5))
        numbered = rng.random() < 0.5
        lines = [
            f"{number}. {item}" if numbered else f"- {item}" for number, item in enumerate(items, 1)
        ]
        yield _block(lines, "\n")
        if rng.random() < 0.6:
            yield _block([rng.choice(_CODE)], "")


def _block(texts: Iterable[str], seam: str) -> list[str]:
    tokens: list[str] = []
    for text in texts:
        tokens += _fixed_tokens((seam if tokens else "\n\n") + text)
    return tokens


def _reasoning(rng: Random, length: int) -> list[str]:
    tokens: list[str] = []
    for thought in cycle(rng.sample(_THOUGHTS, len(_THOUGHTS))):
        tokens += _fixed_tokens(f" {thought}" if tokens else thought)
        if len(tokens) >= length:
            break
    return tokens


def _json_text(body: JsonObject, prompt: str, length: int, rng: Random) -> str:
    """A JSON object of about `length` tokens, always whole."""
    answer: JsonObject = {
        "simulated": True,
        "model": body.get("model"),
        "prompt": _echo(without_directives(prompt)),
        "sentences": [],
    }
    while len(_tokens(text := json.dumps(answer, ensure_ascii=False, indent=2))) < length:
        answer["sentences"].append(rng.choice(_SENTENCES))
    return text


def _tool_calls(body: JsonObject, directives: Directives, rng: Random) -> list[SimulatedToolCall]:
    if not body.get("tools") or body.get("tool_choice") == "none":
        return []
    if directives.plan:
        return _planned_calls(body, directives, rng)
    wanted = _forced_tool(body) if directives.tool is None else directives.tool
    if wanted is None:
        return []
    functions = [tool.get("function") or {} for tool in body.get("tools") or []]
    for function in functions:
        if wanted in ("", function.get("name")):
            arguments = _tool_arguments(function.get("parameters") or {}, rng)
            call_id = f"call_00_{rng.getrandbits(96):024x}"
            return [SimulatedToolCall(call_id, str(function.get("name")), json.dumps(arguments))]
    return []


def _planned_calls(
    body: JsonObject, directives: Directives, rng: Random
) -> list[SimulatedToolCall]:
    """The calls of the next step of the plan; none after the last."""
    taken = steps_taken(body["messages"])
    if taken >= len(directives.plan):
        return []
    # Each step's ids are its own, as those of a model are.
    rng = Random(f"{rng.getrandbits(96)} {taken}")  # noqa: S311 chance only
    return [
        SimulatedToolCall(f"call_{index:02}_{rng.getrandbits(96):024x}", call.name, call.arguments)
        for index, call in enumerate(directives.plan[taken])
    ]


def _forced_tool(body: JsonObject) -> str | None:
    """The function that `tool_choice` says is to be called; "" is the first one, None none."""
    choice = body.get("tool_choice")
    if isinstance(choice, dict):
        return str((choice.get("function") or {}).get("name"))
    return "" if choice == "required" else None


def _tool_arguments(schema: JsonObject, rng: Random) -> JsonObject:
    """Values for every property of a tool's parameters. Raises ValueError where that would have no
    end."""
    values = dict(value_of({**schema, "type": "object"}, rng))
    for name, property_schema in (schema.get("properties") or {}).items():
        if isinstance(property_schema, dict) and _is_any_text(property_schema):
            values[name] = f"simulated {name}"
    return values


def _is_any_text(schema: JsonObject) -> bool:
    return schema.get("type") == "string" and _TEXT_RULES.isdisjoint(schema)
