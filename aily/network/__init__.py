"""IP addresses: of clients, and which are public."""
