"""What users may do: roles, grants, permissions, menus, limits, API keys."""
