"""HTTP requests that wait for a task on their connection, and what becomes of a dropped one's task.

A client whose connection broke, or that ran into its time limit, sends its request again: OpenAI's
clients do so by themselves, without an Idempotency-Key. The repeated request is to find the task of
the dropped one, in whatever process it arrives, instead of paying for a second. If no such request
comes within DROPPED_REQUEST_SECONDS, the task is cancelled.

Redis has which requests wait in which process (`held`), and which were dropped. A process that
dies without a word is found by its missing heartbeat. While Redis is away no request can be found
again, and a dropped one's task is cancelled at once.
"""

from chat.openai.waiters.keeper import get_keeper
from chat.openai.waiters.registry import Waiter, fingerprint

__all__ = ["Waiter", "fingerprint", "get_keeper"]
