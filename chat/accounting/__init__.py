"""Budgets and the ledger: reserved when a task is accepted, settled after its end."""

from chat.accounting.budgets import (
    BudgetsInForce,
    in_force,
    in_force_from,
    in_force_query,
    reserve,
)
from chat.accounting.settling import NearEnd, settle
from chat.accounting.tokens import bound_completion

__all__ = [
    "BudgetsInForce",
    "NearEnd",
    "bound_completion",
    "in_force",
    "in_force_from",
    "in_force_query",
    "reserve",
    "settle",
]
