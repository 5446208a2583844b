"""OpenAI's HTTP API over aily's tasks: what its clients send, and what they can read."""
