"""Metrics and traces of the tasks."""
