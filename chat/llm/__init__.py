"""Client of LLM providers: one call, its errors, and a simulated provider."""
