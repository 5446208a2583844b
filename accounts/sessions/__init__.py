"""Logging in and being logged in: passwords, second factor, sessions, throttling."""
