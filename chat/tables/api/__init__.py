"""REST: /api/tables."""
