"""Budgets and the ledger: reserved when a task is accepted, closed after its end."""

from chat.accounting.budgets import (
    BudgetsInForce,
    in_force,
    in_force_from,
    in_force_query,
    reserve,
)
from chat.accounting.ledger import close_ledger
from chat.accounting.loops import StepCosts, free_while_waiting, reserve_step, reserve_turns
from chat.accounting.tokens import Tokens, bound_completion

__all__ = [
    "BudgetsInForce",
    "StepCosts",
    "Tokens",
    "bound_completion",
    "close_ledger",
    "free_while_waiting",
    "in_force",
    "in_force_from",
    "in_force_query",
    "reserve",
    "reserve_step",
    "reserve_turns",
]
