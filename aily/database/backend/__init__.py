"""Django's PostgreSQL backend, for a server that may be away without a word."""
