"""SECRET_KEY, and secrets encrypted with it."""
