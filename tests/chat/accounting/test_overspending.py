"""Many at once against one budget: never more is spent than it allows, and the ledger adds up."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from threading import Event

from django.db import close_old_connections, connection
from django.db.models import F, Sum

from accounts.models import APIKey, User
from chat import settlement
from chat.models import BudgetPeriod, LedgerEntry, Task
from chat.services.submit import Accepted, submit_many
from tests.chat.accounting.conftest import budget_of, end, submission, usage

ROOT = Path(__file__).resolve().parents[3]
Kind = LedgerEntry.Kind


def start_spender(owner: User, submits: int) -> subprocess.Popen[str]:
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "aily.settings", "LOG_LEVEL": "ERROR"}
    arguments = [connection.settings_dict["NAME"], str(owner.pk), str(submits)]
    return subprocess.Popen(
        [sys.executable, "-m", "tests.chat.accounting.spender", *arguments],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


@contextmanager
def spenders(owner: User, *, processes: int, submits: int) -> Iterator[list[subprocess.Popen[str]]]:
    started = [start_spender(owner, submits) for _ in range(processes)]
    try:
        yield started
    finally:
        for process in started:
            process.kill()
            process.communicate()


def ledger_sum(period: BudgetPeriod, *kinds: str) -> tuple[int, int, Decimal]:
    """(calls, tokens, money) of a budget's entries of these kinds."""
    entries = LedgerEntry.objects.filter(budget_id=period.budget_id, kind__in=kinds)
    sums = entries.aggregate(
        tokens=Sum(F("prompt_tokens") + F("completion_tokens"), default=0),
        money=Sum("money", default=Decimal(0)),
    )
    return entries.count(), sums["tokens"], sums["money"]


def test_a_thousand_submits_of_two_processes_get_a_hundred_calls_between_them(
    alice: User,
) -> None:
    budget = budget_of(alice, limit_calls=100, limit_tokens=1_000_000, limit_money=10)
    with spenders(alice, processes=2, submits=500) as processes:
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        outputs = [process.communicate("go\n", timeout=60)[0] for process in processes]
    assert sum(map(int, outputs)) == Task.objects.count() == 100
    period = budget.periods.get()
    assert (period.reserved_calls, period.spent_calls) == (100, 0)
    assert ledger_sum(period, Kind.RESERVE) == (
        period.reserved_calls, period.reserved_tokens, period.reserved_money
    )  # fmt: skip

    for number, task_id in enumerate(Task.objects.values_list("pk", flat=True)):
        end(str(task_id), usage=usage(prompt=10 + number, completion=number))
    settlement.settle_ended_tasks()
    period.refresh_from_db()
    assert (period.reserved_calls, period.reserved_tokens) == (0, 0)
    assert period.reserved_money == 0
    used = sum(10 + 2 * number for number in range(100))
    money = Decimal(sum(10 + 3 * number for number in range(100))) / 1_000_000
    assert (period.spent_calls, period.spent_tokens, period.spent_money) == (100, used, money)
    assert ledger_sum(period, Kind.SETTLE) == (100, used, money)


def test_spending_and_settling_at_once_never_goes_over_and_adds_up(alice: User) -> None:
    limit = 2_500
    budget = budget_of(alice, limit_tokens=limit)
    most_taken: list[int] = []
    is_done = Event()

    def spend(number: int) -> int:
        """Submit, and where that was accepted use less than was reserved."""
        [outcome] = submit_many([submission(alice, max_tokens=100)])
        if isinstance(outcome, Accepted):
            if number % 5:
                end(outcome.task_id, usage=usage(prompt=9, completion=number % 60))
            else:
                end(outcome.task_id, "cancelled", attempt=0)
        if number % 3 == 0:
            settlement.settle_ended_tasks()
        close_old_connections()
        return isinstance(outcome, Accepted)

    def watch() -> None:
        while not is_done.is_set():
            for period in BudgetPeriod.objects.all():
                assert period.reserved_tokens >= 0
                most_taken.append(period.reserved_tokens + period.spent_tokens)
            is_done.wait(0.01)
        close_old_connections()

    with ThreadPoolExecutor(7) as executor:
        watching = executor.submit(watch)
        accepted = sum(executor.map(spend, range(200)))
        is_done.set()
        watching.result()
    settlement.settle_ended_tasks()
    period = budget.periods.get()
    assert max(most_taken) <= limit
    assert limit - 150 < period.spent_tokens <= limit
    check_that_all_agree(period, accepted)


def check_that_all_agree(period: BudgetPeriod, accepted: int) -> None:
    """The budget's ledger, the usage entries and the tasks' own usage say the same."""
    assert period.reserved_tokens == period.reserved_calls == 0
    _, spent, _ = ledger_sum(period, Kind.SETTLE)
    used = sum(task.usage.get("total_tokens", 0) for task in Task.objects.all())
    entries = LedgerEntry.objects.usage()
    assert period.spent_tokens == spent == used == sum(entry.tokens for entry in entries)
    reserved, *_ = ledger_sum(period, Kind.RESERVE)
    closed, *_ = ledger_sum(period, Kind.SETTLE, Kind.RELEASE)
    assert accepted == Task.objects.count() == entries.count() == reserved == closed


def test_batches_that_share_budgets_in_any_order_never_wait_for_each_other(alice: User) -> None:
    """A deadlock would make PostgreSQL refuse one of the two, and the batch raise."""
    keys = [APIKey.create(alice, f"key {number}")[0] for number in range(4)]
    budgets = [budget_of(None, api_key=key, limit_calls=25, period="day") for key in keys]
    budgets.append(budget_of(alice, limit_calls=90, period="day"))

    def submit(number: int) -> list[Accepted]:
        order = keys if number % 2 else keys[::-1]
        outcomes = submit_many([submission(alice, api_key_id=key.pk) for key in order])
        accepted = [outcome for outcome in outcomes if isinstance(outcome, Accepted)]
        for submitted in accepted[::2]:
            end(submitted.task_id, usage=usage(1, 1))
        settlement.settle_ended_tasks()
        close_old_connections()
        return accepted

    with ThreadPoolExecutor(7) as executor:
        accepted = [outcome for batch in executor.map(submit, range(40)) for outcome in batch]
    assert len(accepted) == Task.objects.count() == 90
    taken = []
    for budget in budgets:
        period = budget.periods.get()
        assert ledger_sum(period, Kind.RESERVE)[0] == period.reserved_calls + period.spent_calls
        taken.append(period.reserved_calls + period.spent_calls)
    assert sum(taken[:4]) == taken[4] == 90
    assert max(taken[:4]) <= 25
