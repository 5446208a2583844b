"""Measurements of a process and its services: event loop, connection pools, PostgreSQL, Valkey."""
