"""Telling the outside of what happened: webhooks and e-mail, each at least once.

A delivery is a row, made in the transaction that settles its task (outbox.py). Workers claim what
is due (claims.py), send it on their event loop (deliverer.py), and note what came of it
(outcomes.py).
"""

from chat.delivery.outbox import budget_near_end, store

__all__ = ["budget_near_end", "store"]
