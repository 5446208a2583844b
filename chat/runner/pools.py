"""What a worker knows of each pool: its model, where its calls go, and which of them have ended."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from chat.llm.types import Upstream
from chat.models.provider_fields import StructuredOutput


class EndedCalls(NamedTuple):
    """What the next claim says of a pool's calls that have ended.

    `released`: tasks whose slots are given back. `mean_seconds`: of their calls, None if unknown.
    `succeeded`: how many of the calls the provider answered, for the tasks of `owners`.
    """

    released: list[str]
    mean_seconds: float | None
    succeeded: int
    owners: set[int]


#: How a model is asked for answers that fit a JSON Schema: each way once it refused the one before.
_OUTPUT_MODES = (StructuredOutput.NATIVE, StructuredOutput.JSON_OBJECT, StructuredOutput.PROMPT)
#: For how long a refusal is believed: another may be one caller's schema's fault.
REFUSAL_SECONDS = 600.0


@dataclass(slots=True)
class LearntOutput:
    """How a model is asked for answers that fit a JSON Schema, where nobody has said so."""

    _place: int = 0
    #: Monotonic.
    _until: float = 0.0

    @property
    def mode(self) -> StructuredOutput:
        return _OUTPUT_MODES[self._place if time.monotonic() < self._until else 0]

    def note_refused(self, mode: StructuredOutput) -> None:
        """Ask in another way from now on than in this one, which is not the last."""
        self._place = max(_OUTPUT_MODES.index(self.mode), _OUTPUT_MODES.index(mode) + 1)
        self._until = time.monotonic() + REFUSAL_SECONDS


@dataclass(slots=True)
class Pool:
    """One upstream model, as last read from the database."""

    name: str
    model_id: int
    model: str
    upstream_model: str
    upstream: Upstream
    cap: int
    #: Nothing is claimed: staff have paused or disabled the model or its provider.
    is_held: bool = False
    #: How it is asked for answers that fit a JSON Schema; None: as `learnt_output` says.
    structured_output: StructuredOutput | None = None
    learnt_output: LearntOutput = field(default_factory=LearntOutput)
    #: Whether the last claim left tasks behind.
    has_waiting: bool = False
    #: Set to look for work now.
    woken: asyncio.Event = field(default_factory=asyncio.Event)
    _released: list[str] = field(default_factory=list)
    _seconds: list[float] = field(default_factory=list)
    _succeeded: int = 0
    _owners: set[int] = field(default_factory=set)

    @property
    def released(self) -> Sequence[str]:
        """Tasks whose slots the next claim gives back."""
        return self._released

    def update(self, loaded: Pool) -> None:
        """Take over what was read from the database."""
        self.model, self.upstream_model = loaded.model, loaded.upstream_model
        if self.upstream.base_url != loaded.upstream.base_url:
            self.learnt_output = LearntOutput()
        self.upstream, self.cap = loaded.upstream, loaded.cap
        self.structured_output = loaded.structured_output
        if self.is_held and not loaded.is_held:
            self.woken.set()
        self.is_held = loaded.is_held

    def release(self, task_ids: Sequence[str]) -> None:
        """Have the next claim give back the slots of these tasks."""
        self._released += task_ids

    def call_ended(self, task_id: str, seconds: float) -> None:
        """`release` for a call that took so long."""
        self._released.append(task_id)
        self._seconds.append(seconds)

    def call_succeeded(self, owner_id: int) -> None:
        """Count that the provider answers."""
        self._succeeded += 1
        self._owners.add(owner_id)

    def take_ended(self) -> EndedCalls:
        """Return what the next claim has to say, and forget it."""
        seconds = self._seconds
        mean_seconds = sum(seconds) / len(seconds) if seconds else None
        ended = EndedCalls(self._released, mean_seconds, self._succeeded, self._owners)
        self._released, self._seconds, self._succeeded, self._owners = [], [], 0, set()
        return ended

    def put_back(self, ended: EndedCalls) -> None:
        """Keep for a later claim what one could not say."""
        self._released += ended.released
        self._succeeded += ended.succeeded
        self._owners |= ended.owners


class Pools:
    """All pools of a worker, by name."""

    def __init__(self) -> None:
        self._by_name: dict[str, Pool] = {}
        #: Names by model id.
        self._names: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self._by_name)

    def __iter__(self) -> Iterator[Pool]:
        return iter(self._by_name.values())

    def __getitem__(self, name: str) -> Pool:
        return self._by_name[name]

    @property
    def names(self) -> list[str]:
        return list(self._by_name)

    def of_model(self, model_id: int) -> Pool | None:
        """The pool of a model, None where this worker does not know it yet."""
        return self._by_name.get(self._names.get(model_id, ""))

    def refresh(self, loaded: Sequence[Pool]) -> None:
        """Take over what was read from the database. What is known of ended calls stays."""
        for pool in loaded:
            known = self._by_name.setdefault(pool.name, pool)
            if known is not pool:
                known.update(pool)
        self._names = {pool.model_id: pool.name for pool in loaded}
        for pool in self:
            if self._names.get(pool.model_id, pool.name) != pool.name:
                # The model has moved to another provider: calls of the old one end, none starts.
                pool.cap = 0

    def wake(self, name: str) -> None:
        """Look for work in this pool now. An unknown one is left to other workers."""
        if name in self._by_name:
            self._by_name[name].woken.set()
