"""What a call costs: its tokens by the price of its model that is in force."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal

from aily.database.rows import Row, fetch_prepared
from chat.accounting.tokens import Tokens
from chat.models import Deployment, LLMModel, ModelPrice

MILLION = Decimal(1_000_000)
Price = ModelPrice | LLMModel | Deployment


#: Models kept in memory; then all are loaded anew.
MAX_MODELS = 10_000

#: xmin and ctid together name one version of a row: whatever changes a row changes them.
_VERSIONS = """
SELECT m.id, concat(m.xmin, ' ', m.ctid,
         (SELECT ' prices ' || string_agg(concat(p.xmin, ' ', p.ctid), ' ' ORDER BY p.id)
            FROM chat_modelprice p WHERE p.model_id = m.id),
         (SELECT ' deployments ' || string_agg(concat(d.xmin, ' ', d.ctid), ' ' ORDER BY d.id)
            FROM chat_deployment d WHERE d.model_id = m.id)) AS version
  FROM chat_llmmodel m WHERE m.id = ANY(%(ids)s)
"""


class _Version(Row, frozen=True):
    """The version of a model, its prices and its deployments, as of now."""

    id: int
    version: str


_loaded: dict[int, tuple[str, LLMModel]] = {}


def load_models(ids: Iterable[int]) -> dict[int, LLMModel]:
    """Models with their prices, and those of their deployments, by id. Not to be changed.

    As they are now: one light query says which of them have changed since this process loaded them.
    Loading takes three queries and 1.2 ms of this process, the look 0.06 ms.
    """
    versions = fetch_prepared(_Version, _VERSIONS, {"ids": sorted(set(ids))})
    found = {}
    changed = []
    for row in versions:
        known = _loaded.get(row.id)
        if known is not None and known[0] == row.version:
            found[row.id] = known[1]
        else:
            changed.append(row)
    return found | _load(changed)


def _load(changed: Sequence[_Version]) -> dict[int, LLMModel]:
    """Load models and keep them. What is read after the version may be newer, never older: then
    the next look loads once more."""
    if not changed:
        return {}
    ids = [row.id for row in changed]
    models = LLMModel.objects.filter(pk__in=ids).prefetch_related("prices", "deployments").in_bulk()
    if len(_loaded) + len(models) > MAX_MODELS:
        _loaded.clear()
    for row in changed:
        if row.id in models:
            _loaded[row.id] = row.version, models[row.id]
    return models


@dataclass(frozen=True, slots=True)
class PriceList:
    """A model's prices, loaded once to look up many: `model.prices.all()` alone takes 5 µs."""

    model: LLMModel
    prices: Sequence[ModelPrice]
    #: Those with prices of their own.
    deployments: Sequence[Deployment]

    @classmethod
    def of(cls, model: LLMModel) -> PriceList:
        return cls(model, list(model.prices.all()), _priced(model))

    def at(self, at: datetime, deployment: str = "") -> Price:
        """The price in force at a moment; the model's own if no other is. A deployment (by its
        name) that has prices of its own has them at any time."""
        for place in self.deployments if deployment else ():
            if place.name == deployment:
                return place
        holding = [price for price in self.prices if price.holds_at(at)]
        return max(holding, key=_precedence, default=self.model)


def price_at(model: LLMModel, at: datetime) -> Price:
    """The price in force at a moment; the model's own if no other is.

    Reads `model.prices`, which `load_models` has fetched.
    """
    return PriceList.of(model).at(at)


def _priced(model: LLMModel) -> list[Deployment]:
    return [
        deployment for deployment in model.deployments.all() if deployment.input_price is not None
    ]


def _precedence(price: ModelPrice) -> tuple[bool, date, int]:
    return price.has_window, price.valid_from or date.min, price.pk


def cost(model: LLMModel, usage: Tokens, at: datetime) -> Decimal:
    """What `usage` costs in the currency of `price_at(model, at)`, exact."""
    return charge(price_at(model, at), usage)


def highest_costs(models: Iterable[LLMModel], usage: Tokens, at: datetime) -> dict[str, Decimal]:
    """The most that `usage` may cost at any deployment of these models, in each currency.

    A price with hours counts at any time of the day, as a task may wait for hours.
    """
    highest: dict[str, Decimal] = {}
    day = at.astimezone(UTC).date()
    for model in models:
        prices: list[Price] = [model, *_priced(model)]
        prices += [price for price in model.prices.all() if price.is_valid_on(day)]
        for price in prices:
            costs = charge(price, usage)
            highest[price.currency] = max(costs, highest.get(price.currency, Decimal(0)))
    return highest


def charge(price: Price, usage: Tokens) -> Decimal:
    """What `usage` costs at this price, exact."""
    input_price, cached_price, output_price = _each(price)
    return (
        (usage.prompt - usage.cached) * input_price
        + usage.cached * cached_price
        + usage.completion * output_price
    ) / MILLION


def _each(price: Price) -> tuple[Decimal, Decimal, Decimal]:
    """Input, cached input and output. A deployment has all three or none (Deployment.clean)."""
    return (
        price.input_price or Decimal(0),
        price.cached_input_price or Decimal(0),
        price.output_price or Decimal(0),
    )
