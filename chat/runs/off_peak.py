"""The cheapest hours of a model, by its prices."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal

from chat.accounting.prices import Price, PriceList, charge, load_models
from chat.accounting.tokens import Tokens

#: How far ahead cheap hours are looked for: windows repeat every week.
DAYS = 8
#: As many of both: which hours are the cheapest hardly ever depends on the kind of tokens.
_EQUAL = Tokens(1_000_000, 0, 1_000_000)


def price_list(model_id: int) -> PriceList:
    return PriceList.of(load_models([model_id])[model_id])


def next_off_peak(prices: PriceList, now: datetime) -> datetime:
    """When the model costs the least: `now` if it does, else the start of the next such hours."""
    moments = [now, *_changes(prices, now)]
    costs = [_cost(prices.at(moment)) for moment in moments]
    return moments[costs.index(min(costs))]


def off_peak_price(prices: PriceList, now: datetime) -> Price:
    """The price in the cheapest hours of the coming days."""
    return prices.at(next_off_peak(prices, now))


def _changes(prices: PriceList, now: datetime) -> Iterator[datetime]:
    """The moments of the coming days at which another price may begin, in order."""
    today = now.astimezone(UTC).date()
    times = {time.min}
    for price in prices.prices:
        times |= {moment for moment in (price.starts_at, price.ends_at) if moment is not None}
    for day in range(DAYS):
        for at in sorted(times):
            moment = datetime.combine(today + timedelta(days=day), at, UTC)
            if moment > now:
                yield moment


def _cost(price: Price) -> Decimal:
    return charge(price, _EQUAL)
