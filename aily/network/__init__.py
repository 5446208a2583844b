"""IP addresses: which are public, and from which one a request comes."""
