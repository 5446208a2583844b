"""The way to a language model: one call to a provider, its errors, and a simulated provider."""
