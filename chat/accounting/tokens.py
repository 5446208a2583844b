"""Tokens of a call: as the provider counted them, or estimated from the length of its texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from chat.models import Task, TaskKind

#: Meant to err on the safe side: English has about 4 bytes a token, Chinese 5 (3 bytes and 0.6
#: tokens a character), source code 3; only noise comes near 2.
BYTES_PER_TOKEN = 2
#: Larger counts of a provider are cut: they would not fit into the ledger's columns, and the whole
#: batch of tasks could not be settled.
MAX_COUNT = 10**9
#: Reserved for an image, an upper bound; for a longer file too, which is charged when it has ended.
OTHER_PART_TOKENS = 2000
#: Reserved for aily's own sentences about a JSON Schema, and about misfits, in two prompts.
STRUCTURED_TOKENS = 1_500
#: The names that providers have for the same parameter.
MAX_TOKENS_NAMES = ("max_completion_tokens", "max_tokens")


class Tokens(msgspec.Struct, frozen=True):
    """Tokens of a call; `cached` is a part of `prompt`."""

    prompt: int = 0
    cached: int = 0
    completion: int = 0

    @classmethod
    def of_usage(cls, usage: Mapping[str, Any]) -> Tokens:
        """The provider's count, as it is in `Task.usage`."""
        prompt, cached, completion = (
            min(max(int(usage.get(name, 0)), 0), MAX_COUNT)
            for name in ("prompt_tokens", "cached_tokens", "completion_tokens")
        )
        return cls(prompt, min(cached, prompt), completion)

    @property
    def total(self) -> int:
        return self.prompt + self.completion

    def plus(self, other: Tokens) -> Tokens:
        return Tokens(
            self.prompt + other.prompt,
            self.cached + other.cached,
            self.completion + other.completion,
        )


def estimate(text_bytes: int) -> int:
    """An upper bound of the tokens of a text of so many bytes of UTF-8, except for noise."""
    return -(-text_bytes // BYTES_PER_TOKEN)


def max_usage(task: Task) -> Tokens:
    """The tokens that a task may use at most, none of them cached.

    A prompt counts with the JSON it is sent in, which covers roles and tools as well; a part that
    is no text adds OTHER_PART_TOKENS. The input of embeddings counts likewise, as a token's number
    and the comma after it are BYTES_PER_TOKEN at the least; there is no completion then.
    """
    prompt = _prompt_tokens(task)
    if task.kind == TaskKind.EMBEDDINGS:
        return Tokens(prompt)
    completion = min(bound_completion(task), MAX_COUNT)
    if task.response_format is None:
        return Tokens(prompt, 0, completion)
    # Its answer may have to be repaired: by a second call, whose prompt has the answer as well.
    prompt = min(2 * prompt + completion + STRUCTURED_TOKENS, MAX_COUNT)
    return Tokens(prompt, 0, min(2 * completion, MAX_COUNT))


def expected_tokens(task: Task) -> int:
    """Return the most tokens of one call; a task without a limit counts with its model's."""
    if task.kind == TaskKind.EMBEDDINGS:
        return _prompt_tokens(task)
    completion = _named_limit(task) or task.model.default_max_tokens
    return _prompt_tokens(task) + min(completion, MAX_COUNT)


def _prompt_tokens(task: Task) -> int:
    if task.kind == TaskKind.EMBEDDINGS:
        return estimate(len(msgspec.json.encode(task.params.get("input"))))
    objects = [value for value in task.params.values() if isinstance(value, (dict, list))]
    prompt = estimate(len(msgspec.json.encode([task.messages, objects])))
    return prompt + OTHER_PART_TOKENS * _other_parts(task.messages)


def _named_limit(task: Task) -> int | None:
    named = [task.params.get(name) for name in MAX_TOKENS_NAMES]
    # If a task names both, the provider chooses.
    return max((limit for limit in named if type(limit) is int and limit > 0), default=None)


def bound_completion(task: Task) -> int:
    """The limit of the task's answer, in tokens.

    A task that names no limit is given its model's: otherwise nothing would bound the call.
    """
    params = task.params
    completion = _named_limit(task)
    if completion is None:
        completion = task.model.default_max_tokens
        params["max_tokens"] = completion
    return completion


def _other_parts(messages: Sequence[Mapping[str, Any]]) -> int:
    """The number of parts that are no text: images, audio, files."""
    contents = (message.get("content") for message in messages)
    return sum(
        part.get("type") != "text"
        for content in contents
        if isinstance(content, list)
        for part in content
    )
