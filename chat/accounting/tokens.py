"""Tokens of a call: as the provider counted them, or reckoned from the length of its texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from chat.models import Task

#: Meant to err on the safe side: English has about 4 bytes a token, Chinese 5 (3 bytes and 0.6
#: tokens a character), source code 3; only noise comes near 2.
BYTES_PER_TOKEN = 2
#: No provider's nonsense is to burst the ledger's columns, and hold up all that is settled with it.
MOST_TOKENS = 10**9
#: What an image is charged for at most, seen by itself; a longer file is charged when it has ended.
OTHER_PART_TOKENS = 2000
#: Names of the one parameter.
MAX_TOKENS = ("max_completion_tokens", "max_tokens")


class Tokens(msgspec.Struct, frozen=True):
    """`cached` are among the `prompt` ones."""

    prompt: int = 0
    cached: int = 0
    completion: int = 0

    @classmethod
    def of_usage(cls, usage: Mapping[str, Any]) -> Tokens:
        """The provider's count, as it is in `Task.usage`."""
        prompt, cached, completion = (
            min(max(int(usage.get(name, 0)), 0), MOST_TOKENS)
            for name in ("prompt_tokens", "cached_tokens", "completion_tokens")
        )
        return cls(prompt, min(cached, prompt), completion)

    @property
    def total(self) -> int:
        return self.prompt + self.completion


def estimate(text_bytes: int) -> int:
    """Tokens that a text of so many bytes of UTF-8 has at most, short of noise."""
    return -(-text_bytes // BYTES_PER_TOKEN)


def most(task: Task) -> Tokens:
    """The tokens that one call may use at most, none of them cached.

    A prompt counts as the JSON it is sent in, which pays for roles and tools as well; an image, or
    what else is no text, for what one costs at most that is only named.
    """
    objects = [value for value in task.params.values() if isinstance(value, (dict, list))]
    prompt = estimate(len(msgspec.json.encode([task.messages, objects])))
    prompt += OTHER_PART_TOKENS * _other_parts(task.messages)
    return Tokens(prompt, 0, min(bound_completion(task), MOST_TOKENS))


def bound_completion(task: Task) -> int:
    """The most tokens of the task's answer.

    A task that names no limit is given its model's: otherwise nothing would bound the call.
    """
    params = task.params
    named = [params.get(name) for name in MAX_TOKENS]
    # Which of two a provider heeds is its own affair.
    completion = max((one for one in named if type(one) is int and one > 0), default=None)
    if completion is None:
        completion = task.model.default_max_tokens
        params["max_tokens"] = completion
    return completion


def _other_parts(messages: Sequence[Mapping[str, Any]]) -> int:
    """How many parts of messages are no texts: images, audio, files."""
    lists = (one["content"] for one in messages if isinstance(one.get("content"), list))
    return sum(part.get("type") != "text" for parts in lists for part in parts)
