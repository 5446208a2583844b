"""Budgets: what calls may cost, what they did cost, and the ledger of both."""
