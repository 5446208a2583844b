"""Which price holds when, and what a call costs by it."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

import pytest
from pytest_django import DjangoAssertNumQueries

from chat.accounting.prices import PriceList, cost, highest_costs, load_models, price_at
from chat.accounting.tokens import Tokens
from chat.models import Deployment, LLMModel, ModelPrice
from chat.models.budgets import Period

MILLION = Tokens(prompt=1_000_000)


def price(model: LLMModel, amount: int, **fields: Any) -> ModelPrice:
    return ModelPrice.objects.create(
        model=model, input_price=amount, cached_input_price=0, output_price=0, **fields
    )


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


PEAK: list[dict[str, Any]] = [
    {"weekdays": [0, 1, 2, 3, 4], "starts_at": time(1), "ends_at": time(4)},
    {"weekdays": [0, 1, 2, 3, 4], "starts_at": time(6), "ends_at": time(10)},
]


@pytest.mark.parametrize(
    ("moment", "amount"),
    [
        ("2026-11-23T00:59:59", 1),  # a Monday
        ("2026-11-23T01:00:00", 2),
        ("2026-11-23T03:59:59", 2),
        ("2026-11-23T04:00:00", 1),
        ("2026-11-23T06:00:00", 2),
        ("2026-11-23T10:00:00", 1),
        ("2026-11-21T07:00:00", 1),  # a Saturday
    ],
)
def test_peak_hours_are_data(model: LLMModel, moment: str, amount: int) -> None:
    for window in PEAK:
        price(model, 2, **window)
    assert cost(LLMModel.objects.get(), MILLION, at(moment)) == amount


def test_a_window_over_midnight_belongs_to_the_day_that_it_begins_on(model: LLMModel) -> None:
    price(model, 9, weekdays=[4], starts_at=time(22), ends_at=time(6))
    friday, saturday = "2026-11-20", "2026-11-21"
    costs = [
        cost(model, MILLION, at(moment))
        for moment in (
            f"{friday}T05:00", f"{friday}T22:00", f"{saturday}T05:59", f"{saturday}T22:00"
        )
    ]  # fmt: skip
    assert costs == [1, 9, 9, 1]


def test_prices_change_by_the_day_and_the_later_one_wins(model: LLMModel) -> None:
    price(model, 5, valid_until=date(2026, 11, 22))
    price(model, 6, valid_from=date(2026, 11, 22), valid_until=date(2026, 11, 23))
    days = ("2026-11-21", "2026-11-22", "2026-11-23", "2026-11-24")
    assert [cost(model, MILLION, at(f"{day}T23:59")) for day in days] == [5, 6, 6, 1]


def test_a_holiday_takes_the_place_of_a_peak(model: LLMModel) -> None:
    price(model, 2, **PEAK[0])
    holiday = date(2026, 11, 23)
    off_peak = price(model, 1, starts_at=time(0), valid_from=holiday, valid_until=holiday)
    assert price_at(model, at("2026-11-23T02:00")) == off_peak
    assert cost(model, MILLION, at("2026-11-24T02:00")) == 2


def test_cached_tokens_have_their_own_price_and_nothing_is_rounded(model: LLMModel) -> None:
    model.input_price, model.cached_input_price = Decimal("0.15"), Decimal("0.003")
    model.output_price = Decimal("0.6")
    usage = Tokens.of_usage({"prompt_tokens": 3, "cached_tokens": 2, "completion_tokens": 1})
    assert cost(model, usage, at("2026-11-23T00:00")) == Decimal("0.000000756")


def test_the_worst_case_knows_every_hour_and_every_fallback(model: LLMModel) -> None:
    price(model, 7, **PEAK[0])
    price(model, 99, valid_until=date(2020, 1, 1))
    other = LLMModel.objects.create(
        provider=model.provider, name="other", input_price=8, currency="CNY"
    )
    costs = highest_costs([model, other], MILLION, at("2026-11-21T12:00"))
    assert costs == {"USD": 7, "CNY": 8}


def test_loaded_models_are_as_they_are_now(
    model: LLMModel, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    def prices(deployment: str = "") -> tuple[int | None, object]:
        loaded = load_models([model.pk])[model.pk]
        return loaded.default_max_tokens, PriceList.of(loaded).at(
            at("2026-11-21T12:00"), deployment
        ).input_price

    before = prices()
    with django_assert_num_queries(1):
        assert prices() == before
    LLMModel.objects.filter(pk=model.pk).update(default_max_tokens=77)
    assert prices() == (77, before[1])
    own = price(model, 5)
    assert prices() == (77, 5)
    ModelPrice.objects.filter(pk=own.pk).update(input_price=6)
    assert prices() == (77, 6)
    own.delete()
    place = Deployment.objects.create(
        model=model,
        provider=model.provider,
        name="b",
        input_price=Decimal(9),
        cached_input_price=Decimal(9),
        output_price=Decimal(9),
    )
    assert (prices(), prices("b")) == ((77, before[1]), (77, 9))
    place.delete()
    assert prices("b") == (77, before[1])
    with django_assert_num_queries(1):
        prices()


@pytest.mark.parametrize(
    ("period", "start", "end"),
    [
        (Period.DAY, "2026-12-31", "2027-01-01"),
        (Period.WEEK, "2026-12-28", "2027-01-04"),
        (Period.MONTH, "2026-12-01", "2027-01-01"),
        (Period.TOTAL, "1970-01-01", None),
    ],
)
def test_periods_begin_and_end_in_utc(period: Period, start: str, end: str | None) -> None:
    moment = datetime.fromisoformat("2027-01-01T01:30:00+02:00")
    assert period.start(moment) == at(start)
    assert period.end(moment) == (at(end) if end else None)
