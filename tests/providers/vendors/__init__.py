"""One small module a vendor: what it sends, and what is to come of it."""
