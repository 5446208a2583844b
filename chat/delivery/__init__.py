"""Telling the outside of what happened: webhooks and e-mail."""
