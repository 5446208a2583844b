"""HTTP to providers: connections, one exchange, deadlines."""
