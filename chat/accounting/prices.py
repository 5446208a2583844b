"""What a call costs: its tokens by the price of its model that is in force."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal

from chat.accounting.tokens import Tokens
from chat.models import LLMModel, ModelPrice

MILLION = Decimal(1_000_000)


def load_models(ids: Iterable[int]) -> dict[int, LLMModel]:
    """Load models with their prices, by id."""
    models = LLMModel.objects.filter(pk__in=set(ids)).prefetch_related("prices")
    return {model.pk: model for model in models}


@dataclass(frozen=True, slots=True)
class PriceList:
    """A model's prices, loaded once to look up many: `model.prices.all()` alone takes 5 µs."""

    model: LLMModel
    prices: Sequence[ModelPrice]

    @classmethod
    def of(cls, model: LLMModel) -> PriceList:
        return cls(model, list(model.prices.all()))

    def at(self, at: datetime) -> ModelPrice | LLMModel:
        """The price in force at a moment; the model's own if no other is."""
        holding = [price for price in self.prices if price.holds_at(at)]
        return max(holding, key=_precedence, default=self.model)


def price_at(model: LLMModel, at: datetime) -> ModelPrice | LLMModel:
    """The price in force at a moment; the model's own if no other is.

    Reads `model.prices`, which `load_models` has fetched.
    """
    return PriceList.of(model).at(at)


def _precedence(price: ModelPrice) -> tuple[bool, date, int]:
    return price.has_window, price.valid_from or date.min, price.pk


def cost(model: LLMModel, usage: Tokens, at: datetime) -> Decimal:
    """What `usage` costs in the currency of `price_at(model, at)`, exact."""
    return charge(price_at(model, at), usage)


def highest_costs(models: Iterable[LLMModel], usage: Tokens, at: datetime) -> dict[str, Decimal]:
    """The most that `usage` may cost at any of these models, in each currency.

    A price with hours counts at any time of the day, as a task may wait for hours.
    """
    highest: dict[str, Decimal] = {}
    day = at.astimezone(UTC).date()
    for model in models:
        prices: list[ModelPrice | LLMModel] = [model]
        prices += [price for price in model.prices.all() if price.is_valid_on(day)]
        for price in prices:
            costs = charge(price, usage)
            highest[price.currency] = max(costs, highest.get(price.currency, Decimal(0)))
    return highest


def charge(price: ModelPrice | LLMModel, usage: Tokens) -> Decimal:
    """What `usage` costs at this price, exact."""
    return (
        (usage.prompt - usage.cached) * price.input_price
        + usage.cached * price.cached_input_price
        + usage.completion * price.output_price
    ) / MILLION
