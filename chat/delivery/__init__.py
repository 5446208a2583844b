"""Deliveries: webhooks and e-mail about tasks and budgets, each sent at least once.

A delivery is a row, made in the transaction that settles its task (outbox.py). Workers claim
due deliveries (claims.py), send them on their event loop (deliverer.py), and store the outcomes
(outcomes.py).
"""

from chat.delivery.outbox import budget_near_end, create_deliveries
from chat.delivery.questions import announce_questions, has_questions

__all__ = ["announce_questions", "budget_near_end", "create_deliveries", "has_questions"]
