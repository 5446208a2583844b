"""What the comparison asks of its callers, and what it gets back: the two talk in these."""

from __future__ import annotations

import msgspec


class Load(msgspec.Struct, frozen=True):
    """Callers in a closed loop: each sends its next call when the one before was answered."""

    url: str
    #: Of each caller's requests. With fewer than callers they are used in turn.
    headers: list[dict[str, str]]
    at_once: int
    stream: bool
    #: No call begins later than this after the first of them; those under way end.
    seconds: float
    #: What the simulator answers, beside its reasoning, in tokens.
    answer_tokens: int
    #: Numbers of prompts: no two loads have one in common.
    first_number: int


class Phase(msgspec.Struct):
    """A line of the callers' output: `measuring`, then `measured`; the Calls follow."""

    phase: str


class Calls(msgspec.Struct):
    """The right answers to calls that were measured; times in seconds."""

    seconds: list[float]
    #: From sending to the first piece of text, of streams.
    first_text_seconds: list[float]
    #: From the first call to the last answer, on average over the callers.
    measured_seconds: float
    #: All right answers, with those to calls before.
    answered: int
    errors: list[str]
    #: How late the callers' own timers were: they cannot see delays shorter than these.
    timer_lags_seconds: list[float]
