"""Tables of users: typed rows in PostgreSQL, with fields that LLMs fill."""
