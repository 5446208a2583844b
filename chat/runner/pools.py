"""What a worker knows of each pool: where its calls go, and how many are allowed at once."""

from __future__ import annotations

from dataclasses import dataclass, field

from chat.llm.types import Upstream
from chat.models import LLMModel


@dataclass(slots=True)
class Pool:
    """One upstream model, as last read from the database."""

    name: str
    model: str
    upstream_model: str
    upstream: Upstream
    cap: int
    #: Whether the last claim left tasks behind.
    has_waiting: bool = False
    #: Leases to give back with the next claim, and the seconds those calls took.
    released: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    #: How many of those calls the provider answered.
    succeeded: int = 0

    def take_released(self) -> tuple[list[str], float | None, int]:
        """The leases to give back, the mean seconds of their calls, and how many succeeded."""
        released, seconds, succeeded = self.released, self.seconds, self.succeeded
        self.released, self.seconds, self.succeeded = [], [], 0
        return released, sum(seconds) / len(seconds) if seconds else None, succeeded


def load_pools() -> list[Pool]:
    """All models. A disabled one keeps running what was accepted before."""
    return [
        Pool(
            name=model.pool,
            model=model.name,
            upstream_model=model.upstream_name or model.name,
            upstream=Upstream(
                base_url=model.provider.base_url,
                api_key=model.provider.api_key(),
                provider=model.provider.name,
            ),
            cap=model.max_concurrency,
        )
        for model in LLMModel.objects.select_related("provider")
    ]
