"""What a worker knows of each pool: where its calls go, and how many are allowed at once."""

from __future__ import annotations

from dataclasses import dataclass, field

from aily.faults import surviving
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
    #: How many of those calls the provider answered, and whose they were.
    succeeded: int = 0
    owners: set[int] = field(default_factory=set)

    def take_released(self) -> tuple[list[str], float | None, int, set[int]]:
        """The leases to give back, the mean seconds of their calls, how many succeeded, and for
        whom."""
        released, seconds, succeeded = self.released, self.seconds, self.succeeded
        owners = self.owners
        self.released, self.seconds, self.succeeded, self.owners = [], [], 0, set()
        return released, sum(seconds) / len(seconds) if seconds else None, succeeded, owners


def load_pools() -> list[Pool]:
    """All models. A disabled one keeps running what was accepted before."""
    pools = []
    for model in LLMModel.objects.select_related("provider"):
        # One that cannot be used must not keep the others from being called.
        with surviving("loading models"):
            pools.append(_pool_of(model))
    return pools


def _pool_of(model: LLMModel) -> Pool:
    return Pool(
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
